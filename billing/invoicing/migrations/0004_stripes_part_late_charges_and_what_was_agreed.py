"""What Stripe billed of a period, what it bills late, and what a subscription of ours was on since when."""

import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity, SameOrganization


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0009_why_there_is_an_invoice"),
        ("invoicing", "0003_an_organization_by_its_slug"),
    ]

    operations = [
        migrations.CreateModel(
            name="Agreed",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("since", models.DateTimeField()),
                ("plan_key", models.CharField(max_length=32)),
                ("plan_version", models.PositiveIntegerField()),
                ("seats", models.PositiveIntegerField()),
                ("author", models.CharField(max_length=254)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="LateCharge",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("amount", models.BigIntegerField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("first_sent_at", models.DateTimeField(blank=True, null=True)),
                ("delivered_at", models.DateTimeField(blank=True, null=True)),
                ("stripe_id", models.CharField(blank=True, max_length=255)),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.AddField(
            model_name="contract",
            name="contact",
            field=models.CharField(blank=True, db_default="", max_length=254),
        ),
        migrations.AddField(
            model_name="contract",
            name="seat_price",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="contract",
            name="seats",
            field=models.PositiveIntegerField(db_default=1),
        ),
        migrations.AddField(
            model_name="invoice",
            name="at_stripe",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name="contract",
            name="subscription",
            field=models.OneToOneField(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="contract",
                to="billing.subscription",
            ),
        ),
        migrations.AddIndex(
            model_name="invoice",
            index=models.Index(
                condition=models.Q(
                    ("at_stripe__isnull", True), ("source", "stripe"), models.Q(("state", "draft"), _negated=True)
                ),
                fields=["organization"],
                name="invoice_to_compare",
            ),
        ),
        migrations.AddField(
            model_name="agreed",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
            ),
        ),
        migrations.AddField(
            model_name="agreed",
            name="subscription",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="agreed", to="billing.subscription"
            ),
        ),
        migrations.AddField(
            model_name="latecharge",
            name="line",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE, related_name="late_charge", to="invoicing.invoiceline"
            ),
        ),
        migrations.AddField(
            model_name="latecharge",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="agreed",
            constraint=models.UniqueConstraint(fields=("subscription", "since"), name="agreed_once_a_moment"),
        ),
        migrations.AddIndex(
            model_name="latecharge",
            index=models.Index(
                condition=models.Q(("delivered_at", None)), fields=["organization"], name="late_charge_waiting"
            ),
        ),
        migrations.AddConstraint(
            model_name="latecharge",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount", 0), _negated=True), name="late_charge_of_something"
            ),
        ),
        ForceRowSecurity("invoicing_agreed"),
        ForceRowSecurity("invoicing_latecharge"),
        SameOrganization("invoicing_agreed", "subscription_id", "billing_subscription"),
        SameOrganization("invoicing_latecharge", "line_id", "invoicing_invoiceline"),
        DefinerFunction(
            # Whose invoices are to be compared with Stripe's, and who has something that Stripe is to bill later
            "invoicing_collected_by_stripe(uuid, integer)",
            """invoicing_collected_by_stripe(p_after uuid, p_limit integer)
            RETURNS TABLE (organization_id uuid) LANGUAGE sql STABLE AS $$
                (SELECT i.organization_id FROM invoicing_invoice i
                    WHERE i.source = 'stripe' AND i.at_stripe IS NULL AND i.state <> 'draft'
                        AND i.organization_id > p_after)
                UNION
                (SELECT c.organization_id FROM invoicing_latecharge c
                    WHERE c.delivered_at IS NULL AND c.organization_id > p_after)
                ORDER BY 1 LIMIT p_limit
            $$""",
        ),
        DefinerFunction(
            "invoicing_contracts_to_begin(timestamptz, uuid, integer)",
            """invoicing_contracts_to_begin(p_now timestamptz, p_after uuid, p_limit integer)
            RETURNS TABLE (organization_id uuid) LANGUAGE sql STABLE AS $$
                SELECT DISTINCT c.organization_id FROM invoicing_contract c
                WHERE c.subscription_id IS NULL AND c.starts_at <= p_now AND c.ends_at > p_now
                    AND c.organization_id > p_after
                ORDER BY 1 LIMIT p_limit
            $$""",
        ),
    ]
