"""Exports, the stores of customers that they go to, and their schedules, each behind the wall."""

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
            name="Target",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=64)),
                ("kind", models.CharField(max_length=8)),
                ("options", models.JSONField()),
                ("sealed_secrets", models.BinaryField()),
                ("worked_at", models.DateTimeField(null=True)),
                ("failed_at", models.DateTimeField(null=True)),
                ("failure", models.CharField(blank=True, max_length=300)),
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
            name="Schedule",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "format",
                    models.CharField(
                        choices=[("jsonl", "JSON Lines"), ("csv", "CSV"), ("parquet", "Parquet")],
                        default="jsonl",
                        max_length=7,
                    ),
                ),
                (
                    "compression",
                    models.CharField(
                        choices=[("none", "None"), ("gzip", "gzip"), ("zstd", "Zstandard")],
                        default="none",
                        max_length=4,
                    ),
                ),
                ("action", models.CharField(blank=True, max_length=64)),
                ("actor", models.CharField(blank=True, max_length=255)),
                ("on", models.CharField(blank=True, max_length=255)),
                ("has_people", models.BooleanField(default=True)),
                ("name", models.CharField(max_length=64)),
                (
                    "every",
                    models.CharField(
                        choices=[("day", "Daily"), ("week", "Weekly"), ("month", "Monthly")],
                        default="day",
                        max_length=5,
                    ),
                ),
                ("range_start", models.DateTimeField()),
                ("next_seq", models.BigIntegerField(default=0)),
                ("proved_size", models.BigIntegerField(default=0)),
                ("is_paused", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "target",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="audit_exports.target"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Export",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "format",
                    models.CharField(
                        choices=[("jsonl", "JSON Lines"), ("csv", "CSV"), ("parquet", "Parquet")],
                        default="jsonl",
                        max_length=7,
                    ),
                ),
                (
                    "compression",
                    models.CharField(
                        choices=[("none", "None"), ("gzip", "gzip"), ("zstd", "Zstandard")],
                        default="none",
                        max_length=4,
                    ),
                ),
                ("action", models.CharField(blank=True, max_length=64)),
                ("actor", models.CharField(blank=True, max_length=255)),
                ("on", models.CharField(blank=True, max_length=255)),
                ("has_people", models.BooleanField(default=True)),
                ("since", models.DateTimeField(null=True)),
                ("until", models.DateTimeField(null=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Being written"),
                            ("sending", "On its way to the store"),
                            ("ready", "Ready"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                            ("expired", "Expired"),
                        ],
                        default="queued",
                        max_length=9,
                    ),
                ),
                ("failure", models.CharField(blank=True, max_length=300)),
                ("folder", models.CharField(max_length=64)),
                ("first", models.BigIntegerField(null=True)),
                ("last", models.BigIntegerField(null=True)),
                ("position", models.BigIntegerField(default=0)),
                ("rows", models.BigIntegerField(default=0)),
                ("bytes", models.BigIntegerField(default=0)),
                ("settled", models.JSONField(default=dict)),
                ("checkpoint_size", models.BigIntegerField(null=True)),
                ("proved_size", models.BigIntegerField(null=True)),
                ("files", models.JSONField(default=list)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("turn", models.UUIDField(null=True)),
                ("leased_until", models.DateTimeField(null=True)),
                ("due_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("label", models.CharField(max_length=40)),
                ("sent_at", models.DateTimeField(null=True)),
                ("send_failure", models.CharField(blank=True, max_length=300)),
                ("created_by", models.JSONField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("started_at", models.DateTimeField(null=True)),
                ("ready_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField(null=True)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "schedule",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="audit_exports.schedule",
                    ),
                ),
                (
                    "target",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="audit_exports.target",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [
                    models.Index(fields=["organization", "-id"], name="audit_exports_newest"),
                    models.Index(
                        condition=models.Q(("state__in", ["queued", "running", "sending"])),
                        fields=["due_at"],
                        name="audit_exports_due",
                    ),
                    models.Index(
                        condition=models.Q(("state__in", ["sending", "ready"])),
                        fields=["expires_at"],
                        name="audit_exports_ending",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("schedule", "since"), name="audit_exports_each_range_once")
                ],
            },
        ),
        *[ForceRowSecurity(f"audit_exports_{table}") for table in ("target", "schedule", "export")],
        SameOrganization("audit_exports_schedule", "target_id", "audit_exports_target"),
        SameOrganization("audit_exports_export", "target_id", "audit_exports_target"),
        SameOrganization("audit_exports_export", "schedule_id", "audit_exports_schedule"),
    ]
