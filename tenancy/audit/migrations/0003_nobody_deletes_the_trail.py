"""The trail is append-only: the application may not delete from it, except by purging a closed organization's."""

from django.db import migrations

from tenancy.rls import DefinerFunction


class Migration(migrations.Migration):
    """Take the right to delete away, and give the one function that may."""

    dependencies = [("audit", "0002_the_tenant_wall"), ("tenancy", "0003_keys_stay_under_their_parents")]

    operations = [
        migrations.RunSQL(
            "REVOKE DELETE ON audit_auditevent FROM capsule_app",
            "GRANT DELETE ON audit_auditevent TO capsule_app",
        ),
        DefinerFunction(
            # A day at least lies between closing an organization and losing its trail, so that whoever takes over the
            # application cannot cover their tracks at once.
            "audit_purge(uuid)",
            """audit_purge(p_organization uuid) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
            DECLARE
                deleted bigint;
            BEGIN
                IF p_organization IS DISTINCT FROM nullif(current_setting('app.organization_id', true), '')::uuid
                    OR NOT EXISTS (
                        SELECT FROM tenancy_organization o
                        WHERE o.id = p_organization AND o.closed_at < now() - interval '1 day'
                    )
                THEN
                    RAISE EXCEPTION 'a trail can be purged in its own scope, a day after its organization was closed'
                        USING ERRCODE = 'insufficient_privilege';
                END IF;
                DELETE FROM audit_auditevent WHERE organization_id = p_organization;
                GET DIAGNOSTICS deleted = ROW_COUNT;
                RETURN deleted;
            END $$""",
        ),
    ]
