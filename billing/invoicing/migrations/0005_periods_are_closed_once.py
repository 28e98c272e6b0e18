"""One closing: periods end together with their drafts, and an invoice is written from the closed period."""

from django.db import migrations

from tenancy.rls import DefinerFunction

# Metering's periods were cut to whole hours, an invoice's are exact: of the same hours, they become the same.
ALIGN = """
    ALTER TABLE metering_usageperiod NO FORCE ROW LEVEL SECURITY;
    ALTER TABLE invoicing_invoice NO FORCE ROW LEVEL SECURITY;
    ALTER TABLE metering_usageperiod DROP CONSTRAINT usage_period_follows_one;
    UPDATE metering_usageperiod p SET ends_at = i.period_start FROM invoicing_invoice i
        WHERE i.organization_id = p.organization_id AND p.ends_at = date_trunc('hour', i.period_start, 'UTC');
    UPDATE metering_usageperiod p SET ends_at = i.period_end FROM invoicing_invoice i
        WHERE i.organization_id = p.organization_id AND p.ends_at = date_trunc('hour', i.period_end, 'UTC');
    UPDATE metering_usageperiod p SET
        starts_at = i.period_start, follows = CASE WHEN p.follows IS NOT NULL THEN i.period_start END
        FROM invoicing_invoice i
        WHERE i.organization_id = p.organization_id AND p.starts_at = date_trunc('hour', i.period_start, 'UTC');
    ALTER TABLE metering_usageperiod ADD CONSTRAINT usage_period_follows_one
        FOREIGN KEY (organization_id, follows) REFERENCES metering_usageperiod (organization_id, ends_at);
    ALTER TABLE invoicing_invoice FORCE ROW LEVEL SECURITY;
    ALTER TABLE metering_usageperiod FORCE ROW LEVEL SECURITY;
"""


class Migration(migrations.Migration):
    """What the one loop asks and writes."""

    dependencies = [
        ("invoicing", "0004_stripes_part_late_charges_and_what_was_agreed"),
        ("metering", "0009_one_chain_of_periods"),
        ("credits", "0001_the_ledger"),
    ]

    operations = [
        migrations.RunSQL(ALIGN, migrations.RunSQL.noop),
        DefinerFunction(
            # A page of the organizations that have come to a boundary since their last period ended, with all that
            # says where their next ones end and what they cost. One too many is looked at for nothing; the one that is
            # asked for always is.
            "invoicing_due(timestamptz, uuid, uuid, integer)",
            """invoicing_due(p_now timestamptz, p_only uuid, p_after uuid, p_limit integer)
            RETURNS TABLE (
                organization_id uuid, moment timestamptz, created_at timestamptz, closed_until timestamptz,
                subscriptions jsonb, contracts jsonb, agreed jsonb, overrides jsonb, po_number text
            ) LANGUAGE sql STABLE AS $$
                WITH known AS (
                    SELECT o.id, o.created_at, o.clock_ahead, o.period_start, o.period_end,
                        p_now + o.clock_ahead AS moment, (
                            SELECT max(p.ends_at) FROM metering_usageperiod p WHERE p.organization_id = o.id
                        ) AS closed_until
                    FROM tenancy_organization o WHERE o.id > p_after AND (p_only IS NULL OR o.id = p_only)
                ), since AS (
                    SELECT k.*, coalesce(k.closed_until, least(date_trunc('month', k.created_at, 'UTC'), (
                        SELECT min(least(s.created_at, s.period_start)) FROM billing_subscription s
                        WHERE s.organization_id = k.id
                    ), (SELECT min(c.starts_at) FROM invoicing_contract c WHERE c.organization_id = k.id))) AS since
                    FROM known k
                ), due AS (
                    SELECT s.* FROM since s WHERE p_only IS NOT NULL OR s.clock_ahead > interval '0'
                        OR (s.period_end IS NULL AND date_trunc('month', s.moment, 'UTC') > s.since)
                        OR (s.period_start > s.since AND s.period_start <= s.moment)
                        OR (s.period_end > s.since AND s.period_end <= s.moment)
                        OR EXISTS (
                            SELECT FROM billing_subscription b,
                                unnest(ARRAY[b.created_at, b.period_start, b.period_end, b.ended_at]) AS boundary
                            WHERE b.organization_id = s.id AND b.status NOT IN ('incomplete', 'incomplete_expired')
                                AND boundary > s.since AND boundary <= s.moment
                        )
                        OR EXISTS (
                            SELECT FROM invoicing_contract c
                            LEFT JOIN billing_subscription b ON b.id = c.subscription_id
                            WHERE c.organization_id = s.id AND (
                                (c.starts_at > s.since AND c.starts_at <= s.moment)
                                OR (c.ends_at <= s.moment AND b.status NOT IN ('canceled', 'incomplete_expired'))
                            )
                        )
                    ORDER BY s.id LIMIT p_limit
                )
                SELECT d.id, d.moment, d.created_at, d.closed_until,
                    (SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.created_at), '[]') FROM billing_subscription s
                        WHERE s.organization_id = d.id AND s.status NOT IN ('incomplete', 'incomplete_expired')),
                    (SELECT coalesce(jsonb_agg(to_jsonb(c) ORDER BY c.starts_at), '[]') FROM invoicing_contract c
                        WHERE c.organization_id = d.id),
                    (SELECT coalesce(jsonb_agg(to_jsonb(a) ORDER BY a.since), '[]') FROM invoicing_agreed a
                        WHERE a.organization_id = d.id),
                    (SELECT coalesce(jsonb_agg(to_jsonb(e) ORDER BY e.key), '[]') FROM billing_entitlementoverride e
                        WHERE e.organization_id = d.id AND e.holds_from IS NOT NULL),
                    coalesce((SELECT a.po_number FROM billing_billingaccount a WHERE a.organization_id = d.id), '')
                FROM due d ORDER BY d.id
            $$""",
        ),
        DefinerFunction(
            # Ends periods and makes their drafts, both or neither. The locks come first, so that the second statement
            # sees what whoever had them before has written; what another worker has now is left to it.
            "invoicing_end_periods(jsonb, jsonb)",
            """invoicing_end_periods(p_periods jsonb, p_drafts jsonb) RETURNS TABLE (organization_id uuid)
            LANGUAGE plpgsql VOLATILE AS $$
            #variable_conflict use_column
            DECLARE
                v_mine uuid[];
            BEGIN
                SELECT array_agg(l.id) INTO v_mine FROM (
                    SELECT o.id FROM tenancy_organization o WHERE o.id IN (
                        SELECT n.organization_id FROM jsonb_to_recordset(p_periods) AS n(organization_id uuid)
                    ) ORDER BY o.id FOR NO KEY UPDATE SKIP LOCKED
                ) AS l;
                RETURN QUERY WITH made AS (
                    INSERT INTO metering_usageperiod
                        (id, organization_id, starts_at, ends_at, follows, watermark, checksum)
                    SELECT n.id, n.organization_id, n.starts_at, n.ends_at, n.follows, '', ''
                    FROM jsonb_to_recordset(p_periods) AS n(
                        id uuid, organization_id uuid, starts_at timestamptz, ends_at timestamptz, follows timestamptz
                    )
                    WHERE n.organization_id = ANY(v_mine) AND NOT EXISTS (
                        SELECT FROM metering_usageperiod p
                        WHERE p.organization_id = n.organization_id AND p.ends_at > n.starts_at
                    )
                    RETURNING organization_id, starts_at
                ), drafted AS (
                    INSERT INTO invoicing_invoice
                    SELECT d.* FROM jsonb_populate_recordset(NULL::invoicing_invoice, p_drafts) AS d
                    JOIN made m ON m.organization_id = d.organization_id AND m.starts_at = d.period_start
                )
                SELECT DISTINCT m.organization_id FROM made m;
            END $$""",
        ),
        DefinerFunction(
            # A page of the organizations with drafts whose periods are closed: each draft with what its lines say. What
            # came late was told with closings since the invoice before; that one counted all that was told until then.
            "invoicing_to_open(timestamptz, uuid, uuid, integer)",
            """invoicing_to_open(p_now timestamptz, p_only uuid, p_after uuid, p_limit integer)
            RETURNS TABLE (
                organization_id uuid, moment timestamptz, invoice jsonb, contract jsonb, totals jsonb, watermark text,
                late jsonb, numbers bigint, has_credits boolean
            ) LANGUAGE sql STABLE AS $$
                WITH ready AS (
                    SELECT DISTINCT i.organization_id FROM invoicing_invoice i
                    JOIN metering_usageperiod p ON p.organization_id = i.organization_id
                        AND p.starts_at = i.period_start AND p.ends_at = i.period_end AND p.closed_at IS NOT NULL
                    WHERE i.state = 'draft' AND i.organization_id > p_after
                        AND (p_only IS NULL OR i.organization_id = p_only)
                    ORDER BY i.organization_id LIMIT p_limit
                ), drafts AS (
                    SELECT i AS invoice, i.organization_id, i.period_start, i.period_end, i.contract_id, p.totals,
                        p.watermark, (
                            SELECT max(b.period_end) FROM invoicing_invoice b
                            WHERE b.organization_id = i.organization_id AND b.period_end <= i.period_start
                        ) AS last
                    FROM ready r JOIN invoicing_invoice i ON i.organization_id = r.organization_id AND i.state = 'draft'
                    JOIN metering_usageperiod p ON p.organization_id = i.organization_id
                        AND p.starts_at = i.period_start AND p.ends_at = i.period_end AND p.closed_at IS NOT NULL
                ), told AS (
                    SELECT d.organization_id, d.period_start AS draft, a.period_id, a.meter, a.quantity,
                        t.starts_at >= d.last AS is_new
                    FROM drafts d JOIN metering_usageperiod t ON t.organization_id = d.organization_id
                        AND t.ends_at <= d.period_end
                    JOIN metering_usageadjustment a ON a.told_in_id = t.id
                ), changed AS (
                    SELECT DISTINCT t.organization_id, t.draft, t.period_id FROM told t WHERE t.is_new
                ), levels AS (
                    SELECT c.organization_id, c.draft, c.period_id, m.meter,
                        sum(m.quantity) FILTER (WHERE NOT m.is_new) AS before, sum(m.quantity) AS now
                    FROM changed c JOIN metering_usageperiod p ON p.id = c.period_id
                    CROSS JOIN LATERAL (
                        SELECT s.key AS meter, (s.value ->> 'quantity')::bigint AS quantity, false AS is_new
                        FROM jsonb_each(p.totals) AS s
                        UNION ALL
                        SELECT t.meter, t.quantity, t.is_new FROM told t
                        WHERE t.organization_id = c.organization_id AND t.draft = c.draft AND t.period_id = c.period_id
                    ) AS m GROUP BY c.organization_id, c.draft, c.period_id, m.meter
                ), sums AS (
                    SELECT l.organization_id, l.draft, l.period_id,
                        coalesce(
                            jsonb_object_agg(l.meter, l.before) FILTER (WHERE l.before IS NOT NULL), '{}'
                        ) AS before, jsonb_object_agg(l.meter, l.now) AS now
                    FROM levels l GROUP BY l.organization_id, l.draft, l.period_id
                ), late AS (
                    SELECT s.organization_id, s.draft, jsonb_agg(jsonb_build_object(
                        'invoice', to_jsonb(b), 'before', s.before, 'now', s.now
                    ) ORDER BY b.period_start) AS late
                    FROM sums s JOIN metering_usageperiod p ON p.id = s.period_id
                    JOIN invoicing_invoice b ON b.organization_id = p.organization_id
                        AND b.period_start = p.starts_at AND b.period_end = p.ends_at
                    GROUP BY s.organization_id, s.draft
                )
                SELECT d.organization_id, p_now + o.clock_ahead, to_jsonb(d.invoice), to_jsonb(c), d.totals,
                    d.watermark, jsonb_build_object('after', (
                        SELECT p.watermark FROM metering_usageperiod p
                        WHERE p.organization_id = d.organization_id AND p.ends_at = d.last
                    ), 'periods', coalesce(l.late, '[]')),
                    (SELECT count(*) FROM invoicing_invoice n WHERE n.organization_id = d.organization_id
                        AND n.source = 'manual' AND n.number IS NOT NULL),
                    EXISTS (SELECT FROM credits_grant g WHERE g.organization_id = d.organization_id AND g.remaining > 0)
                FROM drafts d JOIN tenancy_organization o ON o.id = d.organization_id
                LEFT JOIN invoicing_contract c ON c.id = d.contract_id
                LEFT JOIN late l ON l.organization_id = d.organization_id AND l.draft = d.period_start
                ORDER BY d.organization_id, d.period_start
            $$""",
        ),
    ]
