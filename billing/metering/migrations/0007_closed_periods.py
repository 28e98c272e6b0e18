"""Periods that are closed for good, what is found about them later, corrections, and the functions that compare."""

import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity, SameOrganization

OPTIONS = {"abstract": False, "base_manager_name": "objects"}
TABLES = ("usagecorrection", "usageperiod", "usageadjustment")


def key() -> models.UUIDField:  # type: ignore[type-arg]  # as Django writes it
    """The id of every owned table."""
    return models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False)


def purge(table: str) -> DefinerFunction:
    """The application may only append. A closed organization's rows go with it, a day after its closing."""
    return DefinerFunction(
        f"metering_purge_{table}(uuid)",
        f"""metering_purge_{table}(p_organization uuid) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            deleted bigint;
        BEGIN
            IF p_organization IS DISTINCT FROM nullif(current_setting('app.organization_id', true), '')::uuid
                OR NOT EXISTS (
                    SELECT FROM tenancy_organization o
                    WHERE o.id = p_organization AND o.closed_at < now() - interval '1 day'
                )
            THEN
                RAISE EXCEPTION 'usage can be purged in its own scope, a day after its organization was closed'
                    USING ERRCODE = 'insufficient_privilege';
            END IF;
            DELETE FROM metering_{table} WHERE organization_id = p_organization;
            GET DIAGNOSTICS deleted = ROW_COUNT;
            RETURN deleted;
        END $$""",  # noqa: S608  # the tables above
    )


class Migration(migrations.Migration):
    """Nothing here is ever changed."""

    dependencies = [("metering", "0006_gauges_by_day")]

    operations = [
        migrations.CreateModel(
            name="UsageCorrection",
            fields=[
                ("id", key()),
                ("organization_id", models.UUIDField()),
                ("adjusts", models.UUIDField()),
                ("quantity", models.BigIntegerField()),
                ("reason", models.CharField(max_length=500)),
                ("actor", models.JSONField()),
                ("corrected_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options=OPTIONS
            | {"indexes": [models.Index(fields=["organization_id", "adjusts"], name="usage_correction_of")]},
        ),
        migrations.CreateModel(
            name="UsagePeriod",
            fields=[
                ("id", key()),
                ("organization_id", models.UUIDField()),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField()),
                ("totals", models.JSONField()),
                ("watermark", models.TextField()),
                ("checksum", models.CharField(max_length=64)),
                ("closed_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options=OPTIONS
            | {
                "constraints": [
                    models.UniqueConstraint(fields=("organization_id", "starts_at"), name="usage_period_once"),
                ]
            },
        ),
        migrations.CreateModel(
            name="UsageAdjustment",
            fields=[
                ("id", key()),
                ("organization_id", models.UUIDField()),
                ("meter", models.CharField(max_length=32)),
                ("quantity", models.BigIntegerField()),
                ("events", models.BigIntegerField()),
                (
                    "period",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="metering.usageperiod"
                    ),
                ),
                (
                    "told_in",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="metering.usageperiod"
                    ),
                ),
            ],
            options=OPTIONS
            | {
                "constraints": [
                    models.UniqueConstraint(fields=("period", "told_in", "meter"), name="usage_adjustment_once"),
                ]
            },
        ),
        *(ForceRowSecurity(f"metering_{table}") for table in TABLES),
        *(migrations.RunSQL(f"REVOKE UPDATE, DELETE ON metering_{table} FROM capsule_app") for table in TABLES),
        *(purge(table) for table in TABLES),
        SameOrganization("metering_usageadjustment", "period_id", "metering_usageperiod"),
        SameOrganization("metering_usageadjustment", "told_in_id", "metering_usageperiod"),
        DefinerFunction(
            # Where events and hours differ, in one snapshot. What the roll-up has not reached counts on neither side.
            "metering_differences(timestamptz, timestamptz, uuid, integer)",
            """metering_differences(p_since timestamptz, p_until timestamptz, p_organization uuid, p_limit integer)
            RETURNS TABLE (
                organization_id uuid, project_id uuid, key_id uuid, meter text, hour timestamptz,
                event_quantity bigint, event_count bigint, hour_quantity bigint, hour_count bigint
            ) LANGUAGE sql STABLE AS $$
                SELECT s.organization_id, s.project_id, s.key_id, s.meter::text, s.hour,
                    sum(s.eq)::bigint, sum(s.en)::bigint, sum(s.hq)::bigint, sum(s.hn)::bigint
                FROM (
                    SELECT e.organization_id, e.project_id, e.key_id, e.meter,
                        date_trunc('hour', e.occurred_at, 'UTC') AS hour, e.quantity AS eq, 1 AS en, 0 AS hq, 0 AS hn
                    FROM metering_usageevent e
                    WHERE e.occurred_at >= p_since AND e.occurred_at < p_until
                        AND e.id >= metering_first_id(p_since - interval '1 day')
                        AND e.written_by < (SELECT p.position FROM metering_rollupposition p)
                        AND (p_organization IS NULL OR e.organization_id = p_organization)
                    UNION ALL
                    SELECT h.organization_id, h.project_id, h.key_id, h.meter, h.hour, 0, 0, h.quantity, h.events
                    FROM metering_usagehour h
                    WHERE h.hour >= p_since AND h.hour < p_until
                        AND (p_organization IS NULL OR h.organization_id = p_organization)
                ) AS s
                GROUP BY s.organization_id, s.project_id, s.key_id, s.meter, s.hour
                HAVING sum(s.eq) <> sum(s.hq) OR sum(s.en) <> sum(s.hn)
                ORDER BY s.organization_id, s.hour, s.meter LIMIT p_limit
            $$""",
        ),
        DefinerFunction(
            # The next period of every organization that has one to close: to the period under way, or month by month in
            # UTC where it has none.
            "metering_periods_over(timestamptz, integer)",
            """metering_periods_over(p_moment timestamptz, p_limit integer)
            RETURNS TABLE (organization_id uuid, starts_at timestamptz, ends_at timestamptz) LANGUAGE sql STABLE AS $$
                WITH next AS (
                    SELECT o.id, date_trunc('hour', o.period_start, 'UTC') AS under_way, coalesce(
                        (SELECT max(p.ends_at) FROM metering_usageperiod p WHERE p.organization_id = o.id),
                        date_trunc('month', o.created_at, 'UTC')
                    ) AS since
                    FROM tenancy_organization o WHERE o.closed_at IS NULL
                ), bounds AS (
                    SELECT id, since, coalesce(
                        under_way,
                        (date_trunc('month', since AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'
                    ) AS until
                    FROM next
                )
                SELECT id, since, until FROM bounds WHERE since < until AND until <= p_moment
                ORDER BY until, id LIMIT p_limit
            $$""",
        ),
        DefinerFunction(
            "metering_periods_closed_since(timestamptz)",
            """metering_periods_closed_since(p_moment timestamptz)
            RETURNS TABLE (organization_id uuid, period_id uuid) LANGUAGE sql STABLE AS $$
                SELECT p.organization_id, p.id FROM metering_usageperiod p WHERE p.closed_at >= p_moment
                ORDER BY p.organization_id, p.id
            $$""",
        ),
    ]
