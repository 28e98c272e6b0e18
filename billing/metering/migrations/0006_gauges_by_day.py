"""Samples the gauges of every organization once a day, as events like any other."""

from django.db import migrations

from tenancy.rls import DefinerFunction


class Migration(migrations.Migration):
    """One statement for everybody."""

    dependencies = [
        ("metering", "0005_sums_without_marks"),
        ("tenancy", "0004_the_plan_in_columns"),
        ("memory", "0001_capsules"),
    ]

    operations = [
        DefinerFunction(
            # A sample's id follows from its day and what it is of, so that a day is sampled once whoever tries. It is
            # dated in the day's last hour. Empty projects are sampled too: an average must know that nothing was there.
            # End users are counted from the beginning of the period that the day belongs to.
            "metering_sample_gauges(date)",
            """metering_sample_gauges(p_day date) RETURNS TABLE (sampled bigint) LANGUAGE plpgsql VOLATILE AS $$
            DECLARE
                v_start timestamptz := p_day::timestamp AT TIME ZONE 'UTC';
                v_end timestamptz := (p_day + 1)::timestamp AT TIME ZONE 'UTC';
                v_month timestamptz := date_trunc('month', p_day::timestamp) AT TIME ZONE 'UTC';
                v_nowhere uuid := '00000000-0000-0000-0000-000000000000';
            BEGIN
                WITH periods AS (
                    SELECT o.id AS organization_id, CASE
                        WHEN o.period_start IS NULL THEN v_month
                        WHEN o.period_start < v_end THEN o.period_start
                        ELSE o.period_start - interval '1 month'
                    END AS since
                    FROM tenancy_organization o WHERE o.closed_at IS NULL AND o.created_at < v_end
                ), people AS (
                    SELECT e.organization_id, e.project_id, count(DISTINCT e.end_user) AS quantity
                    FROM metering_usageevent e JOIN periods p USING (organization_id)
                    WHERE e.id >= metering_first_id((SELECT min(since) FROM periods) - interval '1 day')
                        AND e.end_user <> '' AND e.occurred_at >= p.since AND e.occurred_at < v_end
                    GROUP BY e.organization_id, e.project_id
                ), bytes AS (
                    SELECT c.organization_id, c.project_id, sum(c.size) AS quantity
                    FROM memory_capsule c GROUP BY c.organization_id, c.project_id
                ), samples AS (
                    SELECT j.organization_id, j.id AS project_id, 'stored_bytes' AS meter,
                        coalesce(b.quantity, 0) AS quantity
                    FROM tenancy_project j JOIN periods USING (organization_id)
                    LEFT JOIN bytes b ON b.organization_id = j.organization_id AND b.project_id = j.id
                    UNION ALL
                    SELECT j.organization_id, j.id, 'active_end_user', coalesce(n.quantity, 0)
                    FROM tenancy_project j JOIN periods USING (organization_id)
                    LEFT JOIN people n ON n.organization_id = j.organization_id AND n.project_id = j.id
                    UNION ALL
                    SELECT p.organization_id, v_nowhere, 'seat', count(m.id)
                    FROM periods p LEFT JOIN tenancy_membership m USING (organization_id) GROUP BY p.organization_id
                ), named AS (
                    SELECT s.*, md5(s.organization_id::text || s.project_id::text || s.meter) AS hash FROM samples s
                ), stored AS (
                    INSERT INTO metering_usageevent
                        (id, organization_id, project_id, meter, quantity, end_user, occurred_at)
                    SELECT (
                        left(replace(metering_first_id(v_start)::text, '-', ''), 12)
                        || '7' || left(hash, 3) || '8' || substr(hash, 4, 15)
                    )::uuid, organization_id, project_id, meter, quantity, '', v_end - interval '1 hour'
                    FROM named ORDER BY 1
                    ON CONFLICT (id) DO NOTHING RETURNING 1
                )
                SELECT count(*) INTO sampled FROM stored;
                RETURN NEXT;
            END $$""",
        ),
    ]
