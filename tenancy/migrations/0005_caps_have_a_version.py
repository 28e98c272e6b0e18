"""A number that changes with an organization's caps comes with its keys, so that no request has to ask for them."""

from django.db import migrations, models

from tenancy.rls import DefinerFunction


class Migration(migrations.Migration):
    """Caps that hold within a second, without a query."""

    dependencies = [("tenancy", "0004_the_plan_in_columns")]

    operations = [
        migrations.AddField(
            model_name="organization",
            name="caps_version",
            field=models.BigIntegerField(db_default=0),
        ),
        DefinerFunction(
            # beside the functions before it, which earlier versions call and have prepared
            "tenancy_find_key_plan_and_caps(bytea)",
            """tenancy_find_key_plan_and_caps(p_digest bytea) RETURNS TABLE (
                key_id uuid, organization_id uuid, project_id uuid, project_slug text, name text, hint text,
                scopes text[], key_requests_per_minute int, organization_requests_per_minute int, allowed_cidrs text[],
                cors_origins text[], expires_at timestamptz, operation_limit bigint, stored_byte_limit bigint,
                document_limit bigint, end_user_limit bigint, features text[], access text,
                period_start timestamptz, period_end timestamptz, caps_version bigint
            ) LANGUAGE sql VOLATILE AS $$
                SELECT k.*, o.operation_limit, o.stored_byte_limit, o.document_limit, o.end_user_limit,
                    o.features::text[], o.access::text, o.period_start, o.period_end, o.caps_version
                FROM tenancy_find_key(p_digest) k JOIN tenancy_organization o ON o.id = k.organization_id
            $$""",
        ),
    ]
