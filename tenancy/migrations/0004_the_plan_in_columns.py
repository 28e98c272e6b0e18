"""What a plan gives an organization stands in its columns, and comes with its keys."""

import django.contrib.postgres.fields
from django.db import migrations, models

from tenancy.rls import DefinerFunction


class Migration(migrations.Migration):
    """The free plan for everybody, until billing writes another."""

    dependencies = [
        ("tenancy", "0003_keys_stay_under_their_parents"),
    ]

    operations = [
        migrations.AddField(
            model_name="organization",
            name="access",
            field=models.CharField(
                choices=[("full", "Everything"), ("read_only", "Reads alone"), ("suspended", "Exports alone")],
                db_default="full",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="organization",
            name="document_limit",
            field=models.BigIntegerField(db_default=500, null=True),
        ),
        migrations.AddField(
            model_name="organization",
            name="end_user_limit",
            field=models.BigIntegerField(db_default=1000, null=True),
        ),
        migrations.AddField(
            model_name="organization",
            name="features",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=40), db_default=["mcp"], size=None
            ),
        ),
        migrations.AddField(
            model_name="organization",
            name="operation_limit",
            field=models.BigIntegerField(db_default=25000, null=True),
        ),
        migrations.AddField(
            model_name="organization",
            name="period_end",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="organization",
            name="period_start",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="organization",
            name="stored_byte_limit",
            field=models.BigIntegerField(db_default=1000000000, null=True),
        ),
        DefinerFunction(
            # beside `tenancy_find_key`, which the version before this one calls and has prepared
            "tenancy_find_key_and_plan(bytea)",
            """tenancy_find_key_and_plan(p_digest bytea) RETURNS TABLE (
                key_id uuid, organization_id uuid, project_id uuid, project_slug text, name text, hint text,
                scopes text[], key_requests_per_minute int, organization_requests_per_minute int, allowed_cidrs text[],
                cors_origins text[], expires_at timestamptz, operation_limit bigint, stored_byte_limit bigint,
                document_limit bigint, end_user_limit bigint, features text[], access text,
                period_start timestamptz, period_end timestamptz
            ) LANGUAGE sql VOLATILE AS $$
                SELECT k.*, o.operation_limit, o.stored_byte_limit, o.document_limit, o.end_user_limit,
                    o.features::text[], o.access::text, o.period_start, o.period_end
                FROM tenancy_find_key(p_digest) k JOIN tenancy_organization o ON o.id = k.organization_id
            $$""",
        ),
    ]
