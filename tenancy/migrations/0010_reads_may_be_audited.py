"""A project may want its reads recorded; a key says so, and one that has ended says whose it was."""

from django.db import migrations, models

from tenancy.rls import DefinerFunction


class Migration(migrations.Migration):
    """A switch, and what the API's door asks with a key."""

    dependencies = [("tenancy", "0009_keys_may_export_the_trail")]

    operations = [
        migrations.AddField(
            model_name="project",
            name="audit_reads",
            field=models.BooleanField(db_default=False),
        ),
        DefinerFunction(
            # beside the functions before it, which earlier versions call and have prepared
            "tenancy_find_key_and_its_project(bytea)",
            """tenancy_find_key_and_its_project(p_digest bytea) RETURNS TABLE (
                key_id uuid, organization_id uuid, project_id uuid, project_slug text, name text, hint text,
                scopes text[], key_requests_per_minute int, organization_requests_per_minute int, allowed_cidrs text[],
                cors_origins text[], expires_at timestamptz, operation_limit bigint, stored_byte_limit bigint,
                document_limit bigint, end_user_limit bigint, features text[], access text,
                period_start timestamptz, period_end timestamptz, caps_version bigint, audit_reads boolean
            ) LANGUAGE sql VOLATILE AS $$
                SELECT k.*, p.audit_reads
                FROM tenancy_find_key_plan_and_caps(p_digest) k JOIN tenancy_project p ON p.id = k.project_id
            $$""",
        ),
        DefinerFunction(
            # Whose a key was that works no more, so that they hear of its use; of an unknown one there is nothing.
            "tenancy_dead_key(bytea)",
            """tenancy_dead_key(p_digest bytea) RETURNS TABLE (
                organization_id uuid, key_id uuid, name text, hint text, why text
            ) LANGUAGE sql STABLE AS $$
                SELECT k.organization_id, k.id, k.name::text, k.hint::text, CASE
                    WHEN k.revoked_at IS NOT NULL THEN 'revoked'
                    WHEN k.expires_at <= now() THEN 'expired'
                    WHEN p.archived_at IS NOT NULL THEN 'project_archived'
                    ELSE 'organization_closed' END
                FROM tenancy_apikey k JOIN tenancy_project p ON p.id = k.project_id WHERE k.digest = p_digest
            $$""",
        ),
    ]
