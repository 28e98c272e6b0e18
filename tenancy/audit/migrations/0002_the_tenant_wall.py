"""Row security on the trail, append-only for the application, and a function for one-round-trip statements."""

from django.db import migrations

from tenancy.rls import ForceRowSecurity, Function


class Migration(migrations.Migration):
    """The wall."""

    dependencies = [("audit", "0001_audit_trail"), ("tenancy", "0002_the_tenant_wall")]

    operations = [
        ForceRowSecurity("audit_auditevent"),
        # a purge may delete a closed organization's trail; nobody may rewrite it
        migrations.RunSQL(
            "REVOKE UPDATE ON audit_auditevent FROM capsule_app",
            "GRANT UPDATE ON audit_auditevent TO capsule_app",
        ),
        Function(
            "audit_record(uuid, uuid, text, jsonb, jsonb, jsonb, jsonb)",
            """audit_record(
                p_organization uuid, p_id uuid, p_action text, p_actor jsonb, p_target jsonb, p_context jsonb,
                p_metadata jsonb
            ) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                INSERT INTO audit_auditevent
                    (organization_id, id, action, actor, target, context, metadata, occurred_at)
                VALUES (p_organization, p_id, p_action, p_actor, p_target, p_context, p_metadata, now());
                RETURN p_id;
            END $$""",
        ),
    ]
