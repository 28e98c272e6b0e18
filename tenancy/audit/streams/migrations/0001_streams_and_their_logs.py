"""Streams, their log and what was set aside, each behind the wall."""

import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import ForceRowSecurity, SameOrganization


class Migration(migrations.Migration):
    """The tables."""

    initial = True

    dependencies = [
        ("tenancy", "0010_reads_may_be_audited"),
    ]

    operations = [
        migrations.CreateModel(
            name="Stream",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=64)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("splunk", "Splunk (HTTP Event Collector)"),
                            ("datadog", "Datadog Logs"),
                            ("https", "Signed HTTPS webhook"),
                            ("syslog", "Syslog over TLS"),
                            ("s3", "S3 or compatible"),
                            ("gcs", "Google Cloud Storage"),
                            ("azure", "Azure Blob Storage"),
                        ],
                        max_length=8,
                    ),
                ),
                ("options", models.JSONField()),
                ("sealed_secrets", models.BinaryField()),
                ("sealed_keys", models.BinaryField(null=True)),
                ("sealed_previous", models.BinaryField(null=True)),
                ("previous_until", models.DateTimeField(null=True)),
                ("has_ocsf", models.BooleanField(default=False)),
                ("has_people", models.BooleanField(default=True)),
                (
                    "state",
                    models.CharField(
                        choices=[("active", "Active"), ("paused", "Paused"), ("disabled", "Disabled")],
                        default="active",
                        max_length=8,
                    ),
                ),
                ("state_reason", models.CharField(blank=True, max_length=300)),
                ("state_since", models.DateTimeField(default=django.utils.timezone.now)),
                ("next_seq", models.BigIntegerField()),
                ("proved_size", models.BigIntegerField(default=0)),
                ("most_events", models.PositiveIntegerField(null=True)),
                ("refusals", models.PositiveIntegerField(default=0)),
                ("set_aside_in_row", models.PositiveIntegerField(default=0)),
                ("failures", models.PositiveIntegerField(default=0)),
                ("failing_since", models.DateTimeField(null=True)),
                ("last_success_at", models.DateTimeField(null=True)),
                ("sent", models.BigIntegerField(default=0)),
                ("due_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("turn", models.UUIDField(null=True)),
                ("leased_until", models.DateTimeField(null=True)),
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
            name="Delivery",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "reason",
                    models.CharField(
                        choices=[("batch", "Batch"), ("test", "Test"), ("resend", "Sent again"), ("gap", "Left out")],
                        default="batch",
                        max_length=6,
                    ),
                ),
                ("first", models.BigIntegerField()),
                ("count", models.PositiveIntegerField()),
                ("bytes", models.PositiveIntegerField()),
                ("started_at", models.DateTimeField()),
                ("milliseconds", models.PositiveIntegerField()),
                ("status", models.PositiveIntegerField(null=True)),
                ("code", models.CharField(blank=True, max_length=16)),
                ("sentence", models.CharField(max_length=300)),
                ("answer", models.TextField(blank=True)),
                ("has_arrived", models.BooleanField()),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "stream",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="audit_streams.stream",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="DeadLetter",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("seq", models.BigIntegerField()),
                ("event_id", models.UUIDField()),
                ("status", models.PositiveIntegerField(null=True)),
                ("sentence", models.CharField(max_length=300)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("resent_at", models.DateTimeField(null=True)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "stream",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="audit_streams.stream",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.AddIndex(
            model_name="stream",
            index=models.Index(condition=models.Q(("state", "active")), fields=["due_at"], name="audit_streams_due"),
        ),
        migrations.AddIndex(
            model_name="stream",
            index=models.Index(fields=["organization", "id"], name="audit_streams_of"),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(fields=["organization", "stream", "-id"], name="audit_streams_log"),
        ),
        migrations.AddIndex(
            model_name="deadletter",
            index=models.Index(fields=["organization", "stream", "-id"], name="audit_streams_aside"),
        ),
        *[ForceRowSecurity(f"audit_streams_{table}") for table in ("stream", "delivery", "deadletter")],
        SameOrganization("audit_streams_delivery", "stream_id", "audit_streams_stream"),
        SameOrganization("audit_streams_deadletter", "stream_id", "audit_streams_stream"),
    ]
