"""References stay inside their organization, keys end with every key above them, proofs of a purge stay as written."""

from django.db import migrations

from tenancy.rls import DefinerFunction, SameOrganization


class Migration(migrations.Migration):
    """What the wall alone does not hold."""

    dependencies = [("tenancy", "0002_the_tenant_wall")]

    operations = [
        migrations.AlterModelOptions(name="organization", options={"base_manager_name": "objects"}),
        SameOrganization("tenancy_apikey", "project_id", "tenancy_project"),
        SameOrganization("tenancy_apikey", "parent_id", "tenancy_apikey"),
        SameOrganization("tenancy_apikey", "successor_id", "tenancy_apikey"),
        migrations.RunSQL(
            "REVOKE UPDATE, DELETE ON tenancy_organizationpurge FROM capsule_app",
            "GRANT UPDATE, DELETE ON tenancy_organizationpurge TO capsule_app",
        ),
        DefinerFunction(
            "tenancy_find_key(bytea)",
            # The last use is kept to the minute, so a busy key costs one write a minute and not one a request; while
            # somebody changes the key, the mark waits for the next request instead of this request for them.
            """tenancy_find_key(p_digest bytea) RETURNS TABLE (
                key_id uuid, organization_id uuid, project_id uuid, project_slug text, name text, hint text,
                scopes text[], key_requests_per_minute int, organization_requests_per_minute int, allowed_cidrs text[],
                cors_origins text[], expires_at timestamptz
            ) LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                RETURN QUERY
                SELECT k.id, k.organization_id, k.project_id, p.slug::text, k.name::text, k.hint::text,
                    k.scopes::text[], k.requests_per_minute, o.requests_per_minute, k.allowed_cidrs::text[],
                    p.cors_origins::text[], k.expires_at
                FROM tenancy_apikey k
                JOIN tenancy_project p ON p.id = k.project_id AND p.archived_at IS NULL
                JOIN tenancy_organization o ON o.id = k.organization_id AND o.closed_at IS NULL
                WHERE k.digest = p_digest AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
                    AND NOT EXISTS (
                        WITH RECURSIVE above AS (
                            SELECT a.id, a.parent_id, a.revoked_at, a.expires_at
                            FROM tenancy_apikey a WHERE a.id = k.parent_id
                            UNION
                            SELECT a.id, a.parent_id, a.revoked_at, a.expires_at
                            FROM tenancy_apikey a JOIN above ON a.id = above.parent_id
                        )
                        SELECT FROM above WHERE above.revoked_at IS NOT NULL OR above.expires_at <= now()
                    );
                IF FOUND THEN
                    UPDATE tenancy_apikey k SET last_used_at = now() WHERE k.id = (
                        SELECT u.id FROM tenancy_apikey u WHERE u.digest = p_digest
                            AND (u.last_used_at IS NULL OR u.last_used_at < now() - interval '1 minute')
                        FOR NO KEY UPDATE SKIP LOCKED
                    );
                END IF;
            END $$""",
            is_replacement=True,
        ),
    ]
