"""Row security on the quotas' tables, and the functions that take units from counters and give them back."""

from django.db import migrations

from tenancy.rls import ForceRowSecurity, Function


class Migration(migrations.Migration):
    """The wall and the counters."""

    dependencies = [("quotas", "0001_caps_counters_and_notices")]

    operations = [
        ForceRowSecurity("quotas_cap"),
        ForceRowSecurity("quotas_counter"),
        ForceRowSecurity("quotas_parkedwrite"),
        ForceRowSecurity("quotas_watch"),
        ForceRowSecurity("quotas_notice"),
        migrations.RunSQL(
            # updated in place (HOT) and often: room in each page, and a vacuum before it is full of old versions
            "ALTER TABLE quotas_counter SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02)",
            "ALTER TABLE quotas_counter RESET (fillfactor, autovacuum_vacuum_scale_factor)",
        ),
        Function(
            # The billing period under way. Stripe's word for the next one may be late: then months follow its last one.
            "quotas_period(uuid)",
            """quotas_period(p_organization uuid) RETURNS TABLE (starts_at timestamptz, ends_at timestamptz)
            LANGUAGE plpgsql STABLE AS $$
            DECLARE v_start timestamptz; v_end timestamptz; v_anchor timestamptz; v_month integer := 1;
            BEGIN
                SELECT o.period_start, o.period_end INTO v_start, v_end FROM tenancy_organization o
                WHERE o.id = p_organization;
                IF v_start IS NULL OR v_end IS NULL OR v_start > now() OR v_end <= v_start THEN
                    v_start := date_trunc('month', now(), 'UTC');
                    v_end := (v_start AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
                END IF;
                v_anchor := v_end;
                WHILE v_end <= now() LOOP
                    v_start := v_end;
                    v_end := (v_anchor AT TIME ZONE 'UTC' + v_month * interval '1 month') AT TIME ZONE 'UTC';
                    v_month := v_month + 1;
                END LOOP;
                RETURN QUERY SELECT v_start, v_end;
            END $$""",
        ),
        Function(
            # Takes units from every counter that applies, all of them or none, under their row locks: whatever the
            # number of processes, the sum of what was granted never passes a hard cap. `p_units` are wanted now,
            # `p_owed` were used already without a grant. A read that finds no room is counted and goes on.
            "quotas_take(uuid, uuid, uuid, text, bigint, bigint, boolean, boolean, boolean)",
            """quotas_take(
                p_organization uuid, p_project uuid, p_key uuid, p_allowance text, p_units bigint, p_owed bigint,
                p_is_write boolean, p_may_lease boolean, p_is_queued boolean
            ) RETURNS TABLE (
                state text, granted bigint, rest bigint, counters uuid[], starts_at timestamptz,
                ends_at double precision, may_keep boolean, is_throttled boolean, cap_level text, cap_subject uuid,
                cap_span text, cap_amount bigint, cap_reaction text
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
                granted := 0; counters := '{}'; is_throttled := false;
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
        Function(
            # What a process took and did not use; a negative number is what it used and did not take.
            "quotas_give_back(uuid, uuid[], bigint)",
            """quotas_give_back(p_organization uuid, p_counters uuid[], p_units bigint) RETURNS bigint
            LANGUAGE plpgsql VOLATILE AS $$
            DECLARE v_done bigint;
            BEGIN
                PERFORM 1 FROM quotas_counter k WHERE k.organization_id = p_organization AND k.id = ANY (p_counters)
                ORDER BY k.subject_id, k.span FOR UPDATE;
                UPDATE quotas_counter k SET used = k.used - p_units, granted = k.granted + greatest(0, -p_units)
                WHERE k.organization_id = p_organization AND k.id = ANY (p_counters);
                GET DIAGNOSTICS v_done = ROW_COUNT;
                RETURN v_done;
            END $$""",
        ),
    ]
