"""Credits that pay for invoices of Stripe's."""

import django.db.models.deletion
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity


class Migration(migrations.Migration):
    dependencies = [
        ("credits", "0004_the_wall_around_top_ups"),
        ("tenancy", "0005_caps_have_a_version"),
    ]

    operations = [
        migrations.CreateModel(
            name="InvoiceCredit",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("invoice_ref", models.CharField(max_length=255)),
                ("currency", models.CharField(max_length=3)),
                ("amount", models.BigIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[("burned", "Burned"), ("deducted", "On the invoice"), ("returned", "Given back")],
                        default="burned",
                        max_length=16,
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("due_at", models.DateTimeField()),
                ("burned_at", models.DateTimeField()),
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
                        condition=models.Q(("state", "burned")), fields=["due_at"], name="invoice_credits_to_deduct"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("organization", "invoice_ref"), name="invoice_credit_once")
                ],
            },
        ),
        ForceRowSecurity("credits_invoicecredit"),
        DefinerFunction(
            "credits_deductions_due(timestamptz, integer)",
            """credits_deductions_due(p_now timestamptz, p_limit integer)
            RETURNS TABLE (organization_id uuid, credit_id uuid) LANGUAGE sql STABLE AS $$
                SELECT c.organization_id, c.id FROM credits_invoicecredit c
                WHERE c.state = 'burned' AND c.due_at <= p_now ORDER BY c.due_at LIMIT p_limit
            $$""",
        ),
    ]
