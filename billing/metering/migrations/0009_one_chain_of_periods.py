"""An organization's periods become one chain, in which PostgreSQL itself allows no gap and no overlap."""

from django.db import migrations, models

from tenancy.rls import DefinerFunction

# What was closed before has no gap: each period began where the last one had ended. The wall is lifted to say so.
FILL = """
    ALTER TABLE metering_usageperiod NO FORCE ROW LEVEL SECURITY;
    UPDATE metering_usageperiod p SET follows = p.starts_at WHERE EXISTS (
        SELECT FROM metering_usageperiod b WHERE b.organization_id = p.organization_id AND b.ends_at = p.starts_at
    );
    ALTER TABLE metering_usageperiod FORCE ROW LEVEL SECURITY;
"""
# Each period but the first follows one that is there, and no two follow the same: nothing else can be.
CHAIN = """
    ALTER TABLE metering_usageperiod ADD CONSTRAINT usage_period_follows_one
        FOREIGN KEY (organization_id, follows) REFERENCES metering_usageperiod (organization_id, ends_at);
    REVOKE INSERT, UPDATE, DELETE ON metering_usageperiod, metering_usageadjustment FROM capsule_app;
"""
NO_CHAIN = """
    GRANT INSERT ON metering_usageperiod, metering_usageadjustment TO capsule_app;
    ALTER TABLE metering_usageperiod DROP CONSTRAINT usage_period_follows_one;
"""
# Counters add up. Samples of one hour are of different projects, and add up; those of different hours do not.
LEVEL = """
    (CASE meter WHEN 'stored_bytes' THEN floor(avg(quantity)) WHEN 'active_end_user' THEN max(quantity)
        WHEN 'seat' THEN max(quantity) ELSE sum(quantity) END)::bigint
"""
LEVELS = f"""
    SELECT period_id, meter, {LEVEL} AS quantity, sum(events)::bigint AS events FROM (
        SELECT period_id, meter, sum(quantity) AS quantity, sum(events) AS events FROM hours
        GROUP BY period_id, meter, CASE WHEN meter IN ('stored_bytes', 'active_end_user', 'seat') THEN hour END
    ) AS samples GROUP BY period_id, meter
"""  # noqa: S608  # the texts above
TOTALS = """
    SELECT period_id, jsonb_object_agg(meter, jsonb_build_object('quantity', quantity, 'events', events)) AS totals
    FROM levels GROUP BY period_id
"""
# One line an hour and group, in a fixed order: whoever has the lines can compute the checksum.
CHECKSUM = """
    encode(sha256(convert_to(coalesce(string_agg(
        extract(epoch FROM hour)::bigint || '|' || project_id || '|' || coalesce(key_id::text, '') || '|' || meter
            || '|' || quantity || '|' || events,
        E'\\n' ORDER BY hour, project_id, key_id, meter
    ), ''), 'UTF8')), 'hex')
"""


class Migration(migrations.Migration):
    """Two steps: a period is over, and a day later what was used in it is final."""

    dependencies = [
        ("metering", "0008_reports_from_elsewhere"),
        ("audit", "0004_rows_only_through_append"),
        ("tenancy", "0007_clocks_that_are_ahead"),
    ]

    operations = [
        migrations.AddField("usageperiod", "follows", models.DateTimeField(null=True)),
        migrations.AlterField("usageperiod", "totals", models.JSONField(null=True)),
        migrations.AlterField("usageperiod", "watermark", models.TextField(blank=True)),
        migrations.AlterField("usageperiod", "checksum", models.CharField(blank=True, max_length=64)),
        migrations.AlterField("usageperiod", "closed_at", models.DateTimeField(null=True)),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.AddConstraint(
            "usageperiod",
            models.UniqueConstraint(fields=["organization_id", "ends_at"], name="usage_period_ends_once"),
        ),
        migrations.AddConstraint(
            "usageperiod",
            models.UniqueConstraint(
                fields=["organization_id", "follows"], nulls_distinct=False, name="usage_period_follows_once"
            ),
        ),
        migrations.AddConstraint(
            "usageperiod",
            models.CheckConstraint(
                condition=models.Q(ends_at__gt=models.F("starts_at"))
                & (models.Q(follows=None) | models.Q(follows=models.F("starts_at"))),
                name="usage_period_begins_where_one_ends",
            ),
        ),
        migrations.AddIndex(
            "usageperiod",
            models.Index(fields=["ends_at"], condition=models.Q(closed_at=None), name="usage_period_to_close"),
        ),
        migrations.RunSQL(CHAIN, NO_CHAIN),
        DefinerFunction(
            # Closes a page of periods in one statement, so in one snapshot: what was used in each, and what came late
            # for those before it. Of one organization the oldest comes first. What another worker has is left to it.
            "metering_close_periods(timestamptz, interval, interval, uuid, uuid[], integer, text, jsonb, jsonb)",
            f"""metering_close_periods(
                p_now timestamptz, p_grace interval, p_late interval, p_only uuid, p_but uuid[], p_limit integer,
                p_action text, p_actor jsonb, p_context jsonb
            ) RETURNS TABLE (organization_id uuid, period_id uuid)
            LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET work_mem = '64MB' AS $$
            #variable_conflict use_column
            BEGIN
                RETURN QUERY WITH due AS MATERIALIZED (
                    SELECT p.organization_id, p.id, p.starts_at, p.ends_at
                    FROM metering_usageperiod p JOIN tenancy_organization o ON o.id = p.organization_id
                    WHERE p.closed_at IS NULL AND p.ends_at <= p_now + o.clock_ahead - p_grace
                        AND (p_only IS NULL OR p.organization_id = p_only) AND p.organization_id <> ALL(p_but)
                        AND NOT EXISTS (
                            SELECT FROM metering_usageperiod b WHERE b.organization_id = p.organization_id
                                AND b.closed_at IS NULL AND b.ends_at < p.ends_at
                        )
                    ORDER BY p.ends_at, p.id LIMIT p_limit FOR UPDATE OF p SKIP LOCKED
                ), spans AS MATERIALIZED (
                    SELECT d.organization_id, d.id AS told_in, p.id AS period_id, p.totals,
                        date_trunc('hour', p.starts_at, 'UTC') AS since, date_trunc('hour', p.ends_at, 'UTC') AS until
                    FROM due d JOIN metering_usageperiod p ON p.organization_id = d.organization_id
                        AND p.ends_at <= d.ends_at AND (p.id = d.id OR p.ends_at > d.starts_at - p_late)
                ), pending AS MATERIALIZED (
                    SELECT e.organization_id, date_trunc('hour', e.occurred_at, 'UTC') AS hour, e.project_id, e.key_id,
                        e.meter, e.quantity
                    FROM metering_usageevent e
                    WHERE e.written_by >= (SELECT r.position FROM metering_rollupposition r)
                        AND e.organization_id::text IN (SELECT d.organization_id::text FROM due d)
                ), added AS MATERIALIZED (
                    SELECT s.told_in, s.period_id, n.hour, n.project_id, n.key_id, n.meter,
                        sum(n.quantity)::bigint AS quantity, count(*) AS events
                    FROM spans s JOIN pending n ON n.organization_id = s.organization_id
                        AND n.hour >= s.since AND n.hour < s.until
                    GROUP BY 1, 2, 3, 4, 5, 6
                ), kept AS (
                    SELECT s.period_id, h.hour, h.project_id, h.key_id, h.meter, h.quantity, h.events
                    FROM spans s JOIN metering_usagehour h ON h.organization_id = s.organization_id
                        AND h.hour >= s.since AND h.hour < s.until
                    WHERE s.period_id = s.told_in
                ), lines AS MATERIALIZED (
                    -- an hour is there once for each group: only what is not in the sums yet has to be added to it
                    SELECT coalesce(k.period_id, a.period_id) AS period_id, coalesce(k.hour, a.hour) AS hour,
                        coalesce(k.project_id, a.project_id) AS project_id, coalesce(k.key_id, a.key_id) AS key_id,
                        coalesce(k.meter, a.meter) AS meter,
                        coalesce(k.quantity, 0) + coalesce(a.quantity, 0) AS quantity,
                        coalesce(k.events, 0) + coalesce(a.events, 0) AS events
                    FROM kept k FULL JOIN (SELECT * FROM added WHERE period_id = told_in) AS a
                        ON a.period_id = k.period_id AND a.hour = k.hour AND a.project_id = k.project_id
                        AND a.meter = k.meter AND coalesce(a.key_id, a.project_id) = coalesce(k.key_id, k.project_id)
                ), hours AS (
                    SELECT period_id, meter, hour, quantity, events FROM lines
                    UNION ALL
                    SELECT s.period_id, h.meter, h.hour, h.quantity, h.events
                    FROM spans s JOIN metering_usagehour h ON h.organization_id = s.organization_id
                        AND h.hour >= s.since AND h.hour < s.until
                    WHERE s.period_id <> s.told_in
                    UNION ALL
                    SELECT period_id, meter, hour, quantity, events FROM added WHERE period_id <> told_in
                ), levels AS MATERIALIZED ({LEVELS}
                ), totals AS MATERIALIZED ({TOTALS}
                ), sums AS MATERIALIZED (
                    SELECT period_id, {CHECKSUM} AS checksum FROM lines GROUP BY period_id
                ), told AS (
                    SELECT s.told_in, s.period_id, t.key AS meter, (t.value ->> 'quantity')::bigint AS quantity,
                        (t.value ->> 'events')::bigint AS events
                    FROM spans s CROSS JOIN LATERAL jsonb_each(s.totals) AS t WHERE s.period_id <> s.told_in
                    UNION ALL
                    SELECT s.told_in, s.period_id, a.meter, a.quantity, a.events
                    FROM spans s JOIN metering_usageadjustment a ON a.period_id = s.period_id
                ), late AS (
                    SELECT told_in, period_id, meter, sum(quantity)::bigint AS quantity, sum(events)::bigint AS events
                    FROM (
                        SELECT s.told_in, l.period_id, l.meter, l.quantity, l.events
                        FROM levels l JOIN spans s ON s.period_id = l.period_id AND s.period_id <> s.told_in
                        UNION ALL
                        SELECT told_in, period_id, meter, -quantity, -events FROM told
                    ) AS changes GROUP BY told_in, period_id, meter HAVING sum(quantity) <> 0 OR sum(events) <> 0
                ), adjusted AS (
                    INSERT INTO metering_usageadjustment
                        (id, organization_id, period_id, told_in_id, meter, quantity, events)
                    SELECT gen_random_uuid(), d.organization_id, l.period_id, l.told_in, l.meter, l.quantity, l.events
                    FROM late l JOIN due d ON d.id = l.told_in RETURNING told_in_id
                ), closed AS (
                    UPDATE metering_usageperiod p SET totals = coalesce(t.totals, '{{}}'),
                        checksum = coalesce(s.checksum, encode(sha256(''), 'hex')),
                        watermark = pg_current_snapshot()::text, closed_at = now()
                    FROM due d LEFT JOIN totals t ON t.period_id = d.id LEFT JOIN sums s ON s.period_id = d.id
                    WHERE p.id = d.id AND p.organization_id = d.organization_id
                    RETURNING p.organization_id, p.id, p.starts_at, p.ends_at, p.totals, p.checksum
                ), said AS MATERIALIZED (
                    SELECT c.organization_id, c.id, audit_append_anywhere(
                        c.organization_id, p_action, p_actor ->> 'id', c.id::text,
                        json_build_object('v', 1, 'action', p_action, 'actor', p_actor,
                            'target', json_build_object('kind', 'usage_period', 'id', c.id, 'label', to_char(
                                c.starts_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') || ' to '
                                || to_char(c.ends_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')),
                            'context', p_context,
                            'metadata', json_build_object('totals', c.totals, 'checksum', c.checksum, 'adjustments',
                                (SELECT count(*) FROM adjusted a WHERE a.told_in_id = c.id)))::text
                    ) AS event
                    FROM closed c
                )
                SELECT s.organization_id, s.id FROM said s WHERE s.event IS NOT NULL;
            END $$""",  # noqa: S608  # the texts above
        ),
        DefinerFunction(
            # Whose periods those are, when a page of them cannot be closed and each is tried by itself.
            "metering_to_close(timestamptz, interval, uuid[], integer)",
            """metering_to_close(p_now timestamptz, p_grace interval, p_but uuid[], p_limit integer)
            RETURNS TABLE (organization_id uuid) LANGUAGE sql STABLE AS $$
                SELECT DISTINCT d.organization_id FROM (
                    SELECT p.organization_id FROM metering_usageperiod p
                    JOIN tenancy_organization o ON o.id = p.organization_id
                    WHERE p.closed_at IS NULL AND p.ends_at <= p_now + o.clock_ahead - p_grace
                        AND p.organization_id <> ALL(p_but)
                    ORDER BY p.ends_at, p.id LIMIT p_limit
                ) AS d
            $$""",
        ),
        DefinerFunction(
            # What closed periods say beside the same made anew from the raw events that each closing saw.
            "metering_recount(uuid[])",
            f"""metering_recount(p_periods uuid[]) RETURNS TABLE (
                organization_id uuid, period_id uuid, starts_at timestamptz, ends_at timestamptz,
                totals jsonb, checksum text, counted_totals jsonb, counted_checksum text
            ) LANGUAGE sql STABLE SET work_mem = '64MB' AS $$
                WITH spans AS (
                    SELECT p.*, date_trunc('hour', p.starts_at, 'UTC') AS since,
                        date_trunc('hour', p.ends_at, 'UTC') AS until
                    FROM metering_usageperiod p WHERE p.id = ANY(p_periods) AND p.closed_at IS NOT NULL
                ), lines AS MATERIALIZED (
                    SELECT s.id AS period_id, date_trunc('hour', e.occurred_at, 'UTC') AS hour, e.project_id, e.key_id,
                        e.meter, sum(e.quantity)::bigint AS quantity, count(*) AS events
                    FROM spans s JOIN metering_usageevent e ON e.organization_id = s.organization_id
                        AND e.id >= metering_first_id(s.since - interval '1 day')
                        AND e.occurred_at >= s.since AND e.occurred_at < s.until
                        AND pg_visible_in_snapshot(abs(e.written_by)::text::xid8, s.watermark::pg_snapshot)
                    GROUP BY 1, 2, 3, 4, 5
                ), hours AS (
                    SELECT * FROM lines
                ), levels AS MATERIALIZED ({LEVELS}
                ), totals AS MATERIALIZED ({TOTALS}
                ), sums AS MATERIALIZED (
                    SELECT period_id, {CHECKSUM} AS checksum FROM lines GROUP BY period_id
                )
                SELECT s.organization_id, s.id, s.starts_at, s.ends_at, s.totals, s.checksum,
                    coalesce(t.totals, '{{}}'), coalesce(c.checksum, encode(sha256(''), 'hex'))
                FROM spans s LEFT JOIN totals t ON t.period_id = s.id LEFT JOIN sums c ON c.period_id = s.id
            $$""",  # noqa: S608  # the texts above
        ),
    ]
