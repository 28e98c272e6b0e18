"""What is owed, and where that leaves an organization."""

import django.db.models.deletion
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0003_seats_paid_and_changes_made"),
        ("tenancy", "0005_caps_have_a_version"),
    ]

    operations = [
        migrations.CreateModel(
            name="Debt",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("invoice_ref", models.CharField(max_length=255)),
                ("amount", models.BigIntegerField(default=0)),
                ("currency", models.CharField(max_length=3)),
                ("pay_url", models.TextField(blank=True)),
                ("failed_at", models.DateTimeField(blank=True, null=True)),
                ("settled_at", models.DateTimeField(blank=True, null=True)),
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
                        condition=models.Q(("settled_at", None)), fields=["organization", "failed_at"], name="debt_open"
                    )
                ],
                "constraints": [models.UniqueConstraint(fields=("organization", "invoice_ref"), name="debt_once")],
            },
        ),
        migrations.CreateModel(
            name="Dunning",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("ok", "Ok"),
                            ("past_due", "Past due"),
                            ("restricted", "Restricted"),
                            ("suspended", "Suspended"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="ok",
                        max_length=16,
                    ),
                ),
                ("since", models.DateTimeField()),
                ("terms", models.JSONField(default=dict)),
                ("told_at", models.DateTimeField(blank=True, null=True)),
                ("next_at", models.DateTimeField(blank=True, null=True)),
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
                        condition=models.Q(("next_at", None), _negated=True),
                        fields=["organization", "next_at"],
                        name="dunning_due",
                    )
                ],
                "constraints": [models.UniqueConstraint(fields=("organization",), name="dunning_once")],
            },
        ),
        ForceRowSecurity("billing_debt"),
        ForceRowSecurity("billing_dunning"),
        DefinerFunction(
            "billing_dunning_due(timestamptz, uuid, integer)",
            """billing_dunning_due(p_now timestamptz, p_after uuid, p_limit integer)
            RETURNS TABLE (organization_id uuid) LANGUAGE sql STABLE AS $$
                SELECT d.organization_id FROM billing_dunning d
                JOIN tenancy_organization o ON o.id = d.organization_id AND o.closed_at IS NULL
                WHERE d.next_at <= p_now AND d.organization_id > p_after ORDER BY d.organization_id LIMIT p_limit
            $$""",
        ),
    ]
