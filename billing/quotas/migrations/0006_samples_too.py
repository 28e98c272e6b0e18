"""What there is (stored bytes, end users) and what a plan includes are watched too; stored bytes stop writes."""

from django.db import migrations, models

from tenancy.rls import DefinerFunction, Function

TAKE = "quotas_take(uuid, uuid, uuid, text, bigint, bigint, boolean, boolean, boolean)"


class Migration(migrations.Migration):
    """Samples beside the counters."""

    dependencies = [("quotas", "0005_what_customers_are_told")]

    operations = [
        migrations.AddField(
            model_name="counter",
            name="included",
            field=models.BigIntegerField(null=True),
        ),
        migrations.RunSQL(f"DROP FUNCTION {TAKE}", migrations.RunSQL.noop),  # it answers with one more column
        Function(
            # Takes units from every counter that applies, all of them or none, under their row locks: whatever the
            # number of processes, the sum of what was granted never passes a hard cap. `p_units` are wanted now,
            # `p_owed` were used already without a grant. A read that finds no room is counted and goes on.
            TAKE,
            """quotas_take(
                p_organization uuid, p_project uuid, p_key uuid, p_allowance text, p_units bigint, p_owed bigint,
                p_is_write boolean, p_may_lease boolean, p_is_queued boolean
            ) RETURNS TABLE (
                state text, granted bigint, rest bigint, counters uuid[], starts_at timestamptz,
                ends_at double precision, may_keep boolean, is_throttled boolean, cap_level text, cap_subject uuid,
                cap_span text, cap_amount bigint, cap_reaction text, cap_allowance text
            ) LANGUAGE plpgsql VOLATILE AS $$
            DECLARE
                v_limit bigint; v_period timestamptz; v_period_end timestamptz;
                v_day timestamptz := date_trunc('day', now(), 'UTC');
                v_room bigint; v_soft_room bigint; v_smallest bigint; v_used bigint; v_id uuid; v_wanted bigint;
                v_is_pending boolean; w record;
            BEGIN
                SELECT CASE p_allowance WHEN 'operations' THEN o.operation_limit WHEN 'documents' THEN o.document_limit
                    END INTO v_limit FROM tenancy_organization o WHERE o.id = p_organization;
                SELECT p.starts_at, p.ends_at INTO v_period, v_period_end FROM quotas_period(p_organization) p;
                granted := 0; counters := '{}'; is_throttled := false; cap_allowance := p_allowance;
                ends_at := extract(epoch FROM v_period_end);
                v_is_pending := EXISTS (
                    SELECT 1 FROM quotas_parkedwrite q
                    WHERE q.organization_id = p_organization AND q.project_id = p_project AND q.state = 'parked'
                );
                -- where a write may be parked every one asks, so that none overtakes a parked one
                may_keep := NOT v_is_pending AND NOT EXISTS (
                    SELECT 1 FROM quotas_cap c WHERE c.organization_id = p_organization
                        AND c.allowance = p_allowance AND c.reaction = 'park'
                );
                IF p_is_write AND NOT p_is_queued AND v_is_pending THEN
                    state := 'queued';  -- later writes wait behind the earlier ones
                    RETURN NEXT;
                    RETURN;
                END IF;
                IF p_is_write AND p_allowance = 'operations' THEN
                    -- what there is, as last sampled, stops what would add to it
                    SELECT l.amount, l.reaction INTO w FROM quotas_counter k CROSS JOIN LATERAL (
                        SELECT o.stored_byte_limit AS amount, 'stop' AS reaction FROM tenancy_organization o
                        WHERE o.id = p_organization
                        UNION ALL
                        SELECT c.amount, c.reaction FROM quotas_cap c
                        WHERE c.organization_id = p_organization AND c.allowance = 'stored_bytes'
                            AND c.reaction IN ('stop', 'park')
                    ) l
                    WHERE k.organization_id = p_organization AND k.allowance = 'stored_bytes'
                        AND k.subject_id = p_organization AND k.span = 'sampled' AND k.starts_at = v_period
                        AND k.used >= l.amount
                    ORDER BY l.reaction, l.amount LIMIT 1;  -- a cap that parks before one that stops
                    IF FOUND THEN
                        state := 'full'; may_keep := false; cap_allowance := 'stored_bytes';
                        cap_level := 'organization'; cap_subject := p_organization; cap_span := 'period';
                        cap_amount := w.amount; cap_reaction := w.reaction;
                        RETURN NEXT;
                        RETURN;
                    END IF;
                END IF;
                FOR w IN
                    SELECT 'organization' AS level, p_organization AS subject_id, 'period' AS span, v_limit AS amount,
                        'stop' AS reaction
                    WHERE v_limit IS NOT NULL
                    UNION ALL
                    SELECT c.level, c.subject_id, c.span, c.amount, c.reaction FROM quotas_cap c
                    WHERE c.organization_id = p_organization AND c.allowance = p_allowance
                        AND c.subject_id IN (p_organization, p_project, p_key)
                    ORDER BY subject_id, span, reaction DESC  -- everybody locks in this order
                LOOP
                    starts_at := CASE w.span WHEN 'day' THEN v_day ELSE v_period END;
                    SELECT k.id, k.used INTO v_id, v_used FROM quotas_counter k
                    WHERE k.organization_id = p_organization AND k.allowance = p_allowance
                        AND k.subject_id = w.subject_id AND k.span = w.span AND k.starts_at = quotas_take.starts_at
                    FOR UPDATE;
                    IF NOT FOUND THEN
                        state := 'missing'; cap_level := w.level; cap_subject := w.subject_id; cap_span := w.span;
                        RETURN NEXT;
                        RETURN;
                    END IF;
                    IF NOT v_id = ANY (counters) THEN
                        counters := counters || v_id;
                    END IF;
                    IF w.span = 'day' THEN
                        ends_at := least(ends_at, extract(epoch FROM v_day) + 86400);
                    END IF;
                    v_smallest := least(v_smallest, w.amount);
                    IF w.reaction IN ('stop', 'park') THEN
                        IF v_room IS NULL OR w.amount - v_used < v_room
                            OR (w.amount - v_used = v_room AND w.reaction = 'park') THEN
                            v_room := w.amount - v_used;
                            cap_level := w.level; cap_subject := w.subject_id; cap_span := w.span;
                            cap_amount := w.amount; cap_reaction := w.reaction;
                        END IF;
                    ELSE
                        v_soft_room := least(v_soft_room, w.amount - v_used);
                        is_throttled := is_throttled OR (w.reaction = 'throttle' AND v_used >= w.amount);
                    END IF;
                END LOOP;
                IF counters = '{}' THEN
                    state := 'free';
                    RETURN NEXT;
                    RETURN;
                END IF;
                -- a lease shrinks with what is left
                v_wanted := CASE WHEN p_may_lease AND may_keep THEN greatest(p_units, least(
                    500, greatest(1, v_smallest / 1000), greatest(1, coalesce(v_room, 32000) / 64)
                )) ELSE p_units END;
                v_room := coalesce(v_room, 9000000000000000000);
                IF v_room >= p_units THEN
                    state := 'granted';
                    granted := least(v_wanted, v_room);
                ELSE
                    state := 'full';
                END IF;
                v_used := granted + p_owed + CASE WHEN state = 'full' AND NOT p_is_write THEN p_units ELSE 0 END;
                IF v_used > 0 THEN
                    UPDATE quotas_counter k SET used = k.used + v_used, granted = k.granted + v_used
                    WHERE k.id = ANY (counters);
                END IF;
                rest := least(v_room, v_soft_room) - v_used;
                RETURN NEXT;
            END $$""",
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
                        AND c.subject_id = k.subject_id
                        AND (c.span = k.span OR (k.span = 'sampled' AND k.allowance = 'stored_bytes'))
                    UNION
                    SELECT k.included
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
            is_replacement=True,
        ),
        DefinerFunction(
            "quotas_organizations_in_use()",
            """quotas_organizations_in_use() RETURNS TABLE (organization_id uuid) LANGUAGE sql STABLE AS $$
                SELECT o.id FROM tenancy_organization o WHERE o.closed_at IS NULL AND EXISTS (
                    SELECT 1 FROM metering_usagehour h
                    WHERE h.organization_id = o.id AND h.hour > now() - interval '26 hours'
                )
            $$""",
        ),
    ]
