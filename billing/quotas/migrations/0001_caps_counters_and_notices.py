"""Caps, the counters behind them, parked writes, and what customers are told."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models


class Migration(migrations.Migration):
    """The tables."""

    initial = True

    dependencies = [
        ("tenancy", "0004_the_plan_in_columns"),
    ]

    operations = [
        migrations.CreateModel(
            name="Cap",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "allowance",
                    models.CharField(
                        choices=[
                            ("operations", "operations"),
                            ("stored_bytes", "stored_bytes"),
                            ("documents", "documents"),
                            ("end_users", "end_users"),
                            ("seats", "seats"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "level",
                    models.CharField(
                        choices=[("organization", "Organization"), ("project", "Project"), ("key", "API key")],
                        max_length=16,
                    ),
                ),
                ("subject_id", models.UUIDField()),
                (
                    "span",
                    models.CharField(
                        choices=[("period", "Billing period"), ("day", "Day (UTC)")], default="period", max_length=8
                    ),
                ),
                ("amount", models.BigIntegerField()),
                (
                    "reaction",
                    models.CharField(
                        choices=[
                            ("warn", "Warn and go on"),
                            ("throttle", "Slow writes down"),
                            ("stop", "Refuse writes"),
                            ("park", "Keep writes until the cap lifts"),
                        ],
                        default="stop",
                        max_length=8,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
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
                    models.UniqueConstraint(
                        fields=("organization", "allowance", "subject_id", "span"), name="cap_once"
                    ),
                    models.CheckConstraint(condition=models.Q(("amount__gte", 0)), name="cap_not_negative"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Counter",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "allowance",
                    models.CharField(
                        choices=[
                            ("operations", "operations"),
                            ("stored_bytes", "stored_bytes"),
                            ("documents", "documents"),
                            ("end_users", "end_users"),
                            ("seats", "seats"),
                        ],
                        max_length=16,
                    ),
                ),
                ("subject_id", models.UUIDField()),
                ("span", models.CharField(choices=[("period", "Billing period"), ("day", "Day (UTC)")], max_length=8)),
                ("starts_at", models.DateTimeField()),
                ("used", models.BigIntegerField()),
                ("granted", models.BigIntegerField(default=0)),
                ("marked", models.BigIntegerField(default=0)),
                ("marked_at", models.DateTimeField(default=django.utils.timezone.now)),
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
                "indexes": [models.Index(fields=["starts_at"], name="counter_by_start")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "allowance", "subject_id", "span", "starts_at"), name="counter_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Notice",
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
                        choices=[("threshold", "A part of a cap is used"), ("anomaly", "Far more than usual")],
                        max_length=16,
                    ),
                ),
                ("what", models.CharField(max_length=32)),
                ("subject_id", models.UUIDField()),
                ("span", models.CharField(choices=[("period", "Billing period"), ("day", "Day (UTC)")], max_length=8)),
                ("starts_at", models.DateTimeField()),
                ("limit", models.BigIntegerField()),
                ("percent", models.PositiveIntegerField()),
                ("used", models.BigIntegerField()),
                ("sentence", models.CharField(max_length=500)),
                ("said_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("mailed_at", models.DateTimeField(null=True)),
                ("dismissed_at", models.DateTimeField(null=True)),
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
                        fields=("organization", "kind", "what", "subject_id", "span", "starts_at", "percent", "limit"),
                        name="notice_once",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ParkedWrite",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("project_id", models.UUIDField()),
                ("key_id", models.UUIDField(null=True)),
                ("kind", models.CharField(choices=[("ingest", "Turns"), ("seal", "Seal")], max_length=16)),
                (
                    "meter",
                    models.CharField(
                        choices=[
                            ("ingest", "Turns ingested"),
                            ("seal", "Sessions sealed"),
                            ("recall", "Recalls"),
                            ("read", "Reads"),
                            ("write", "Changes"),
                            ("import", "Imports"),
                            ("export", "Exports"),
                            ("delete", "Deletions"),
                            ("connector_document", "Documents brought in"),
                            ("stored_bytes", "Stored bytes"),
                            ("active_end_user", "Active end users"),
                            ("seat", "Seats"),
                        ],
                        max_length=32,
                    ),
                ),
                ("quantity", models.BigIntegerField()),
                ("end_user", models.CharField(blank=True, max_length=255)),
                ("actor", models.JSONField()),
                ("sealed_body", models.BinaryField()),
                (
                    "state",
                    models.CharField(
                        choices=[("parked", "Waiting"), ("applied", "Applied"), ("failed", "Could not be applied")],
                        default="parked",
                        max_length=8,
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("due_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("error", models.CharField(blank=True, max_length=500)),
                ("outcome", models.JSONField(default=dict)),
                ("parked_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("ended_at", models.DateTimeField(null=True)),
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
                        condition=models.Q(("state", "parked")),
                        fields=["organization", "project_id", "id"],
                        name="parked_in_order",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Watch",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "allowance",
                    models.CharField(
                        choices=[
                            ("operations", "operations"),
                            ("stored_bytes", "stored_bytes"),
                            ("documents", "documents"),
                            ("end_users", "end_users"),
                            ("seats", "seats"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "percents",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
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
                "constraints": [models.UniqueConstraint(fields=("organization", "allowance"), name="watch_once")],
            },
        ),
    ]
