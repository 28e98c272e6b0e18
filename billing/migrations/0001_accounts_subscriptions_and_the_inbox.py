"""Who pays, for what, and the inbox of Stripe's events; dj-stripe's tables hold no secret and stop no purge."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity


class Migration(migrations.Migration):
    """The tables, the wall around them, and what the application may not do."""

    initial = True
    dependencies = [
        ("tenancy", "0003_keys_stay_under_their_parents"),
        ("djstripe", "0001_stripe_tables"),
    ]

    operations = [
        migrations.CreateModel(
            name="StripeEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("event_id", models.CharField(max_length=255, unique=True)),
                ("type", models.CharField(max_length=255)),
                ("object_kind", models.CharField(max_length=64)),
                ("object_id", models.CharField(max_length=255)),
                ("account", models.CharField(blank=True, max_length=255)),
                ("livemode", models.BooleanField()),
                ("api_version", models.CharField(max_length=64)),
                ("body", models.JSONField()),
                (
                    "status",
                    models.CharField(
                        choices=[("new", "Waiting"), ("done", "Done"), ("dead", "Given up")],
                        default="new",
                        max_length=8,
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("error", models.TextField(blank=True)),
                ("due_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("claimed_until", models.DateTimeField(blank=True, null=True)),
                ("occurred_at", models.DateTimeField()),
                ("received_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("done_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("status", "new")), fields=["due_at"], name="stripe_event_due"),
                    models.Index(
                        condition=models.Q(("status", "new")), fields=["object_id"], name="stripe_event_object"
                    ),
                    models.Index(fields=["-received_at"], name="stripe_event_newest"),
                ],
            },
        ),
        migrations.CreateModel(
            name="BillingAccount",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("stripe_customer_id", models.CharField(max_length=255, null=True, unique=True)),
                ("link_alarm", models.CharField(blank=True, max_length=255)),
                ("currency", models.CharField(default="usd", max_length=3)),
                ("legal_name", models.CharField(blank=True, max_length=200)),
                (
                    "invoice_emails",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.EmailField(max_length=254), blank=True, default=list, size=None
                    ),
                ),
                ("po_number", models.CharField(blank=True, max_length=64)),
                ("address", models.JSONField(blank=True, default=dict)),
                ("tax_ids", models.JSONField(blank=True, default=list)),
                (
                    "seat_policy",
                    models.CharField(
                        choices=[
                            ("named", "Every member"),
                            ("used", "Members who signed in during the period"),
                            ("high_water", "The most members at once during the period"),
                        ],
                        default="named",
                        max_length=16,
                    ),
                ),
                ("seat_high_water", models.PositiveIntegerField(default=0)),
                ("has_payment_method", models.BooleanField(default=False)),
                ("has_had_trial", models.BooleanField(default=False)),
                ("synced_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
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
                "constraints": [models.UniqueConstraint(fields=("organization",), name="billing_account_once")],
            },
        ),
        migrations.CreateModel(
            name="Document",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("invoice", "Invoice"), ("credit_note", "Credit note"), ("refund", "Refund")],
                        max_length=16,
                    ),
                ),
                ("stripe_id", models.CharField(max_length=255, unique=True)),
                ("number", models.CharField(blank=True, max_length=64)),
                ("status", models.CharField(blank=True, max_length=32)),
                ("currency", models.CharField(max_length=3)),
                ("total", models.BigIntegerField()),
                ("amount_due", models.BigIntegerField(default=0)),
                ("amount_paid", models.BigIntegerField(default=0)),
                ("invoice_stripe_id", models.CharField(blank=True, max_length=255)),
                ("page_url", models.TextField(blank=True)),
                ("pdf_url", models.TextField(blank=True)),
                ("period_start", models.DateTimeField(blank=True, null=True)),
                ("period_end", models.DateTimeField(blank=True, null=True)),
                ("due_at", models.DateTimeField(blank=True, null=True)),
                ("issued_at", models.DateTimeField()),
                ("synced_at", models.DateTimeField()),
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
                "indexes": [models.Index(fields=["organization", "-issued_at"], name="document_newest")],
            },
        ),
        migrations.CreateModel(
            name="MeterPush",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("meter", models.CharField(max_length=32)),
                ("hour", models.DateTimeField()),
                ("start", models.BigIntegerField()),
                ("end", models.BigIntegerField()),
                ("identifier", models.CharField(max_length=100, unique=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("first_sent_at", models.DateTimeField(blank=True, null=True)),
                ("delivered_at", models.DateTimeField(blank=True, null=True)),
                ("error", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
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
                        condition=models.Q(("delivered_at", None)), fields=["created_at"], name="meter_push_waiting"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("organization", "meter", "hour", "start"), name="meter_push_once"),
                    models.CheckConstraint(condition=models.Q(("end__gt", models.F("start"))), name="meter_push_grows"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Subscription",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("plan_key", models.CharField(max_length=32)),
                ("plan_version", models.PositiveIntegerField()),
                (
                    "interval",
                    models.CharField(
                        choices=[("monthly", "Monthly"), ("yearly", "Yearly")], default="monthly", max_length=8
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("incomplete", "Waiting for the first payment"),
                            ("incomplete_expired", "Never paid"),
                            ("trialing", "Trial"),
                            ("active", "Active"),
                            ("past_due", "Payment overdue"),
                            ("unpaid", "Unpaid"),
                            ("paused", "Paused"),
                            ("canceled", "Ended"),
                        ],
                        max_length=20,
                    ),
                ),
                ("seats", models.PositiveIntegerField(default=1)),
                ("period_start", models.DateTimeField()),
                ("period_end", models.DateTimeField()),
                ("trial_end", models.DateTimeField(blank=True, null=True)),
                ("trial_reminders", models.JSONField(blank=True, default=list)),
                ("cancel_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "source",
                    models.CharField(
                        choices=[("stripe", "Stripe"), ("contract", "Contract"), ("manual", "Staff")],
                        default="stripe",
                        max_length=8,
                    ),
                ),
                ("stripe_id", models.CharField(max_length=255, null=True, unique=True)),
                ("schedule_id", models.CharField(blank=True, max_length=255)),
                ("scheduled_plan_key", models.CharField(blank=True, max_length=32)),
                ("scheduled_plan_version", models.PositiveIntegerField(blank=True, null=True)),
                (
                    "scheduled_interval",
                    models.CharField(blank=True, choices=[("monthly", "Monthly"), ("yearly", "Yearly")], max_length=8),
                ),
                ("scheduled_at", models.DateTimeField(blank=True, null=True)),
                ("revision", models.PositiveIntegerField(default=0)),
                ("synced_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
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
                    models.UniqueConstraint(
                        condition=models.Q(("status__in", ["canceled", "incomplete_expired"]), _negated=True),
                        fields=("organization",),
                        name="subscription_live_once",
                    )
                ],
            },
        ),
        ForceRowSecurity("billing_billingaccount"),
        ForceRowSecurity("billing_subscription"),
        ForceRowSecurity("billing_document"),
        ForceRowSecurity("billing_meterpush"),
        DefinerFunction(
            "billing_organization_of_customer(text)",
            """billing_organization_of_customer(p_customer text) RETURNS TABLE (organization_id uuid)
            LANGUAGE sql STABLE AS $$
                SELECT a.organization_id FROM billing_billingaccount a WHERE a.stripe_customer_id = p_customer
            $$""",
        ),
        migrations.RunSQL(
            # dj-stripe would store every key that it calls Stripe with, and its webhook secrets, as they are
            "REVOKE ALL ON djstripe_apikey FROM capsule_app, capsule_definer; "
            "REVOKE INSERT, UPDATE ON djstripe_webhookendpoint, djstripe_webhookeventtrigger FROM capsule_app",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON djstripe_apikey TO capsule_app, capsule_definer; "
            "GRANT INSERT, UPDATE ON djstripe_webhookendpoint, djstripe_webhookeventtrigger TO capsule_app",
        ),
        migrations.RunSQL(
            # the purge of an organization deletes in SQL: Django's own SET NULL would not be asked
            """DO $$
            DECLARE
                old text;
            BEGIN
                SELECT c.conname INTO STRICT old FROM pg_constraint c
                WHERE c.conrelid = 'djstripe_customer'::regclass AND c.confrelid = 'tenancy_organization'::regclass;
                EXECUTE format('ALTER TABLE djstripe_customer DROP CONSTRAINT %I', old);
                EXECUTE format('ALTER TABLE djstripe_customer ADD CONSTRAINT %I FOREIGN KEY (subscriber_id) '
                    'REFERENCES tenancy_organization (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED', old);
            END $$""",
            migrations.RunSQL.noop,
        ),
    ]
