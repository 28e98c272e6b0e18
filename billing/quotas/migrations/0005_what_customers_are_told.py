"""The functions that look for thresholds crossed and for unusual use; a notice is mailed as it is made."""

from django.db import migrations

from tenancy.rls import DefinerFunction


class Migration(migrations.Migration):
    """One question for all organizations."""

    dependencies = [("quotas", "0004_what_the_sweeps_ask"), ("metering", "0004_events_by_month")]

    operations = [
        migrations.RemoveField(model_name="notice", name="mailed_at"),
        migrations.RunSQL(
            "GRANT EXECUTE ON FUNCTION quotas_period(uuid) TO capsule_definer",
            "REVOKE EXECUTE ON FUNCTION quotas_period(uuid) FROM capsule_definer",
        ),
        DefinerFunction(
            # Percentages of the plan's limits and the customers' caps that were crossed and not yet said.
            "quotas_crossed(integer[], integer)",
            """quotas_crossed(p_percents integer[], p_limit integer) RETURNS TABLE (
                organization_id uuid, allowance text, level text, subject_id uuid, span text, starts_at timestamptz,
                cap bigint, used bigint, percent integer
            ) LANGUAGE sql STABLE AS $$
                SELECT k.organization_id, k.allowance::text, k.level::text, k.subject_id, k.span::text, k.starts_at,
                    l.cap, k.used, p.percent::integer
                FROM quotas_counter k
                CROSS JOIN LATERAL (
                    SELECT CASE k.allowance WHEN 'operations' THEN o.operation_limit
                        WHEN 'documents' THEN o.document_limit END AS cap
                    FROM tenancy_organization o
                    WHERE o.id = k.organization_id AND k.subject_id = o.id AND k.span = 'period'
                    UNION
                    SELECT c.amount FROM quotas_cap c
                    WHERE c.organization_id = k.organization_id AND c.allowance = k.allowance
                        AND c.subject_id = k.subject_id AND c.span = k.span
                ) l
                LEFT JOIN quotas_watch w ON w.organization_id = k.organization_id AND w.allowance = k.allowance
                CROSS JOIN LATERAL unnest(coalesce(w.percents, p_percents::bigint[])) AS p(percent)
                WHERE k.starts_at > now() - interval '40 days' AND l.cap > 0 AND k.used * 100 >= l.cap * p.percent
                    AND k.starts_at = CASE k.span WHEN 'day' THEN date_trunc('day', now(), 'UTC')
                        ELSE (SELECT q.starts_at FROM quotas_period(k.organization_id) q) END
                    AND NOT EXISTS (
                        SELECT 1 FROM quotas_notice n
                        WHERE n.organization_id = k.organization_id AND n.kind = 'threshold' AND n.what = k.allowance
                            AND n.subject_id = k.subject_id AND n.span = k.span AND n.starts_at = k.starts_at
                            AND n.percent = p.percent AND n."limit" = l.cap
                    )
                ORDER BY k.organization_id, k.allowance, k.subject_id, k.span, l.cap, p.percent LIMIT p_limit
            $$""",
        ),
        DefinerFunction(
            # Keys whose last hours stand out from their week: by how many robust deviations (the median of what an
            # hour differs from the median one, hours without use included). A key younger than a day has no usual.
            "quotas_unusual(timestamptz, text[], bigint, double precision, double precision)",
            """quotas_unusual(
                p_now timestamptz, p_meters text[], p_least bigint, p_times double precision,
                p_deviations double precision
            ) RETURNS TABLE (
                organization_id uuid, project_id uuid, key_id uuid, meter text, hour timestamptz, quantity bigint,
                usual double precision
            ) LANGUAGE sql STABLE AS $$
                WITH late AS (
                    SELECT h.* FROM metering_usagehour h
                    WHERE h.hour >= date_trunc('hour', p_now, 'UTC') - interval '1 hour' AND h.hour <= p_now
                        AND h.quantity >= p_least AND h.meter = ANY (p_meters)
                )
                SELECT l.organization_id, l.project_id, l.key_id, l.meter::text, l.hour, l.quantity, s.usual
                FROM late l
                CROSS JOIN LATERAL (
                    SELECT array_agg(coalesce(h.quantity, 0)) AS hours
                    FROM generate_series(l.hour - interval '7 days', l.hour - interval '2 hours', '1 hour') AS g(hour)
                    LEFT JOIN metering_usagehour h ON h.organization_id = l.organization_id AND h.hour = g.hour
                        AND h.project_id = l.project_id AND h.meter = l.meter AND h.key_id IS NOT DISTINCT FROM l.key_id
                ) week
                CROSS JOIN LATERAL (
                    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY q) AS usual FROM unnest(week.hours) AS u(q)
                ) s
                CROSS JOIN LATERAL (
                    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(q - s.usual)) AS deviation
                    FROM unnest(week.hours) AS u(q)
                ) d
                WHERE l.quantity >= p_times * s.usual
                    AND l.quantity - s.usual
                        >= p_deviations * 1.4826 * greatest(d.deviation, s.usual / 10, p_least / 20.0)
                    AND EXISTS (
                        SELECT 1 FROM metering_usagehour h
                        WHERE h.organization_id = l.organization_id AND h.project_id = l.project_id
                            AND h.meter = l.meter AND h.key_id IS NOT DISTINCT FROM l.key_id
                            AND h.hour < l.hour - interval '1 day'
                    )
                ORDER BY l.organization_id, l.hour, l.meter
            $$""",
        ),
    ]
