"""What the plan keeps no longer is deleted, but for a legal hold; months that this leaves empty are dropped."""

import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity

# Whatever the plan says: whoever takes over the application cannot cover their tracks by selling a plan without a trail
MONTHS = "make_interval(months => greatest(o.audit_retention_months, 1))"
FREE = "NOT EXISTS (SELECT FROM audit_audithold h WHERE h.organization_id = o.id AND h.released_at IS NULL)"


class Migration(migrations.Migration):
    """Holds, and the functions that delete."""

    dependencies = [("audit", "0005_people_have_keys"), ("tenancy", "0012_how_long_the_trail_is_kept")]

    operations = [
        migrations.CreateModel(
            name="AuditHold",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("organization_id", models.UUIDField()),
                ("reason", models.TextField()),
                ("set_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("released_at", models.DateTimeField(null=True)),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("released_at", None)), fields=("organization_id",), name="audit_hold_once"
                    )
                ],
            },
        ),
        ForceRowSecurity("audit_audithold"),
        DefinerFunction(
            "audit_expiring(integer)",
            f"""audit_expiring(p_limit integer) RETURNS TABLE (organization_id uuid) LANGUAGE sql STABLE AS $$
                SELECT o.id FROM tenancy_organization o
                WHERE {FREE} AND EXISTS (
                    SELECT FROM audit_auditevent e
                    WHERE e.organization_id = o.id AND e.id < audit_first_id(now() - {MONTHS})
                )
                ORDER BY o.id LIMIT p_limit
            $$""",  # noqa: S608  # the texts above
        ),
        DefinerFunction(
            # The cutoff is the plan's, read here: no caller chooses it. A hold takes the same lock, so that nothing is
            # deleted once it stands. What the sealer has not seen yet would be lost without a trace.
            "audit_expire(uuid, integer)",
            f"""audit_expire(p_organization uuid, p_limit integer)
            RETURNS TABLE (deleted bigint, unsealed bigint, before timestamptz) LANGUAGE plpgsql VOLATILE AS $$
            DECLARE
                v_is_free boolean;
                v_first uuid;
            BEGIN
                IF p_organization IS DISTINCT FROM nullif(current_setting('app.organization_id', true), '')::uuid THEN
                    RAISE EXCEPTION 'events expire in the scope of their organization'
                        USING ERRCODE = 'insufficient_privilege';
                END IF;
                PERFORM FROM tenancy_organization o WHERE o.id = p_organization FOR SHARE;
                SELECT now() - {MONTHS}, {FREE} INTO before, v_is_free
                    FROM tenancy_organization o WHERE o.id = p_organization;
                v_first := audit_first_id(before);
                deleted := 0;
                IF v_is_free THEN
                    INSERT INTO audit_auditdeletion VALUES (pg_current_xact_id());
                    WITH old AS MATERIALIZED (
                        SELECT e.id FROM audit_auditevent e
                        WHERE e.organization_id = p_organization AND e.id < v_first AND EXISTS (
                            SELECT FROM audit_sealing_leaf l
                            WHERE l.organization_id = p_organization AND l.event_id = e.id
                        )
                        ORDER BY e.id LIMIT p_limit
                    )
                    DELETE FROM audit_auditevent e USING old WHERE e.organization_id = p_organization AND e.id = old.id;
                    GET DIAGNOSTICS deleted = ROW_COUNT;
                    DELETE FROM audit_auditdeletion WHERE xid = pg_current_xact_id();
                END IF;
                unsealed := 0;
                IF v_is_free AND deleted < p_limit THEN
                    SELECT count(*) INTO unsealed FROM audit_auditevent e
                    WHERE e.organization_id = p_organization AND e.id < v_first;
                END IF;
                RETURN NEXT;
            END $$""",  # noqa: S608  # the texts above
        ),
        DefinerFunction(
            # An empty month alone, looked at while nobody can write into it. Writers wait behind a lock that is waited
            # for, so it is not waited for long.
            "audit_drop_empty_partitions()",
            """audit_drop_empty_partitions() RETURNS TABLE (dropped integer)
            LANGUAGE plpgsql VOLATILE SET lock_timeout = '1s' AS $$
            DECLARE
                v_name text;
                v_is_empty boolean;
            BEGIN
                dropped := 0;
                FOR v_name IN
                    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                    WHERE i.inhparent = 'audit_auditevent'::regclass
                        AND c.relname ~ '_[0-9]{4}_[0-9]{2}$'
                        AND right(c.relname, 7) < to_char((now() AT TIME ZONE 'UTC') - interval '2 months', 'YYYY_MM')
                LOOP
                    EXECUTE format('SELECT NOT EXISTS (SELECT FROM %I)', v_name) INTO v_is_empty;
                    CONTINUE WHEN NOT v_is_empty;
                    LOCK TABLE audit_auditevent IN ACCESS EXCLUSIVE MODE;
                    EXECUTE format('SELECT NOT EXISTS (SELECT FROM %I)', v_name) INTO v_is_empty;
                    IF v_is_empty THEN
                        EXECUTE format('DROP TABLE %I', v_name);
                        dropped := dropped + 1;
                    END IF;
                END LOOP;
                RETURN NEXT;
            END $$""",
        ),
        DefinerFunction(
            # A day at least lies between closing an organization and losing its trail, so that whoever takes over the
            # application cannot cover their tracks at once.
            "audit_purge(uuid)",
            f"""audit_purge(p_organization uuid) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
            DECLARE
                deleted bigint;
            BEGIN
                IF p_organization IS DISTINCT FROM nullif(current_setting('app.organization_id', true), '')::uuid
                    OR NOT EXISTS (
                        SELECT FROM tenancy_organization o
                        WHERE o.id = p_organization AND o.closed_at < now() - interval '1 day' AND {FREE}
                    )
                THEN
                    RAISE EXCEPTION 'a trail can be purged in its own scope, a day after its closing, and not when held'
                        USING ERRCODE = 'insufficient_privilege';
                END IF;
                INSERT INTO audit_auditdeletion VALUES (pg_current_xact_id());
                DELETE FROM audit_auditevent WHERE organization_id = p_organization;
                GET DIAGNOSTICS deleted = ROW_COUNT;
                DELETE FROM audit_auditdeletion WHERE xid = pg_current_xact_id();
                RETURN deleted;
            END $$""",  # noqa: S608  # the texts above
            is_replacement=True,
        ),
    ]
