"""Remembers for 90 days what data planes elsewhere have reported, so that a report counts once."""

import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity


class Migration(migrations.Migration):
    """The table, its wall, and the function that forgets the old rows of every organization."""

    dependencies = [("metering", "0007_closed_periods")]

    operations = [
        migrations.CreateModel(
            name="ReportedEvent",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("organization_id", models.UUIDField()),
                ("source", models.CharField(max_length=255)),
                ("name", models.CharField(max_length=255)),
                ("reported_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [models.Index(fields=["reported_at"], name="reported_event_oldest")],
                "constraints": [
                    models.UniqueConstraint(fields=("organization_id", "source", "name"), name="reported_event_once")
                ],
            },
        ),
        ForceRowSecurity("metering_reportedevent"),
        DefinerFunction(
            "metering_forget_reports(timestamptz, integer)",
            """metering_forget_reports(p_before timestamptz, p_limit integer) RETURNS TABLE (forgotten bigint)
            LANGUAGE sql VOLATILE AS $$
                WITH gone AS (
                    DELETE FROM metering_reportedevent WHERE id IN (
                        SELECT id FROM metering_reportedevent WHERE reported_at < p_before
                        ORDER BY reported_at LIMIT p_limit FOR UPDATE SKIP LOCKED
                    ) RETURNING 1
                ) SELECT count(*) FROM gone
            $$""",
        ),
    ]
