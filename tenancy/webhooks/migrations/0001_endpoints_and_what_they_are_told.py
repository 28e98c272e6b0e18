"""Endpoints, the events that they are told, the deliveries of these, and every attempt."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import ForceRowSecurity, SameOrganization


class Migration(migrations.Migration):
    """The tables, and the sequence that orders events and deliveries."""

    initial = True

    dependencies = [
        ("tenancy", "0006_keys_may_read_and_change_billing"),
    ]

    operations = [
        migrations.CreateModel(
            name="Endpoint",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("url", models.CharField(max_length=2048)),
                ("description", models.CharField(blank=True, max_length=200)),
                (
                    "event_types",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64), default=list, size=None
                    ),
                ),
                (
                    "project_ids",
                    django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), default=list, size=None),
                ),
                ("is_ordered", models.BooleanField(default=False)),
                ("api_version", models.CharField(default="2026-11-29", max_length=10)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("active", "Active"),
                            ("paused", "Paused"),
                            ("disabled", "Disabled"),
                            ("deleted", "Deleted"),
                        ],
                        default="active",
                        max_length=8,
                    ),
                ),
                ("state_reason", models.CharField(blank=True, max_length=200)),
                ("state_since", models.DateTimeField(default=django.utils.timezone.now)),
                ("sealed_keys", models.BinaryField()),
                ("sealed_previous", models.BinaryField(null=True)),
                ("previous_until", models.DateTimeField(null=True)),
                ("failures", models.PositiveIntegerField(default=0)),
                ("failing_since", models.DateTimeField(null=True)),
                ("retry_at", models.DateTimeField(null=True)),
                ("last_success_at", models.DateTimeField(null=True)),
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
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("project_id", models.UUIDField(null=True)),
                ("number", models.BigIntegerField()),
                ("type", models.CharField(max_length=64)),
                ("key", models.CharField(max_length=200)),
                ("body", models.TextField()),
                ("occurred_at", models.DateTimeField()),
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
            },
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("number", models.BigIntegerField()),
                (
                    "reason",
                    models.CharField(
                        choices=[("event", "Event"), ("resend", "Sent again"), ("replay", "Replay"), ("test", "Test")],
                        default="event",
                        max_length=8,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("pending", "Waiting"), ("delivered", "Delivered"), ("dead", "Given up")],
                        default="pending",
                        max_length=9,
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("due_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("leased_until", models.DateTimeField(null=True)),
                ("last_status", models.PositiveIntegerField(null=True)),
                ("last_code", models.CharField(blank=True, max_length=16)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("done_at", models.DateTimeField(null=True)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "endpoint",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="webhooks.endpoint",
                    ),
                ),
                (
                    "event",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="webhooks.event"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("endpoint_id", models.UUIDField()),
                ("number", models.PositiveIntegerField()),
                ("started_at", models.DateTimeField()),
                ("milliseconds", models.PositiveIntegerField()),
                ("status", models.PositiveIntegerField(null=True)),
                ("code", models.CharField(blank=True, max_length=16)),
                ("sentence", models.CharField(max_length=300)),
                ("has_arrived", models.BooleanField()),
                ("request", models.JSONField()),
                ("response", models.JSONField()),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "delivery",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="webhooks.delivery"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [
                    models.Index(fields=["organization", "endpoint_id", "-id"], name="webhook_attempts_of_endpoint")
                ],
            },
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["organization", "number"], name="webhook_events_in_order"),
        ),
        migrations.AddConstraint(
            model_name="event",
            constraint=models.UniqueConstraint(fields=("organization", "key"), name="webhook_event_once"),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("state", "pending")), fields=["endpoint", "number"], name="webhook_pending"
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(condition=models.Q(("state", "pending")), fields=["id"], name="webhook_pending_by_age"),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("leased_until__isnull", False), ("state", "pending")),
                fields=["organization", "endpoint"],
                name="webhook_under_way",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(fields=["organization", "endpoint", "-id"], name="webhook_log"),
        ),
        migrations.RunSQL("CREATE SEQUENCE webhooks_order", "DROP SEQUENCE webhooks_order"),
        ForceRowSecurity("webhooks_endpoint"),
        ForceRowSecurity("webhooks_event"),
        ForceRowSecurity("webhooks_delivery"),
        ForceRowSecurity("webhooks_attempt"),
        SameOrganization("webhooks_delivery", "endpoint_id", "webhooks_endpoint"),
        SameOrganization("webhooks_delivery", "event_id", "webhooks_event"),
        SameOrganization("webhooks_attempt", "delivery_id", "webhooks_delivery"),
    ]
