"""What staff grant beside the plan, the version of what an organization is entitled to, and who is due."""

import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity


class Migration(migrations.Migration):
    """Entitlements."""

    dependencies = [
        ("billing", "0001_accounts_subscriptions_and_the_inbox"),
        ("tenancy", "0004_the_plan_in_columns"),
    ]

    operations = [
        migrations.CreateModel(
            name="EntitlementOverride",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("key", models.CharField(max_length=64)),
                ("value", models.JSONField(null=True)),
                ("reason", models.CharField(max_length=500)),
                ("author", models.CharField(max_length=254)),
                ("approver", models.CharField(blank=True, max_length=254)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("ended_by", models.CharField(blank=True, max_length=254)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [
                    models.Index(
                        condition=models.Q(("ended_at", None)), fields=["expires_at"], name="override_expiring"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("ended_at", None)),
                        fields=("organization", "key"),
                        name="override_live_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("reason", ""), _negated=True), name="override_has_a_reason"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="EntitlementVersion",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("number", models.PositiveIntegerField(default=0)),
                ("content", models.JSONField(default=dict)),
                ("changed_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(fields=("organization",), name="entitlement_version_once"),
                ],
            },
        ),
        ForceRowSecurity("billing_entitlementoverride"),
        ForceRowSecurity("billing_entitlementversion"),
        migrations.RunSQL(
            "CREATE INDEX tenancy_organization_period_end ON tenancy_organization (period_end) "
            "WHERE period_end IS NOT NULL",
            "DROP INDEX tenancy_organization_period_end",
        ),
        DefinerFunction(
            "billing_entitlements_due(timestamptz, integer)",
            """billing_entitlements_due(p_moment timestamptz, p_limit integer) RETURNS TABLE (organization_id uuid)
            LANGUAGE sql STABLE AS $$
                (SELECT o.organization_id FROM billing_entitlementoverride o
                    WHERE o.ended_at IS NULL AND o.expires_at <= p_moment)
                UNION
                (SELECT t.id FROM tenancy_organization t WHERE t.period_end <= p_moment)
                LIMIT p_limit
            $$""",
        ),
    ]
