"""Order for parked writes, and the functions that look for what waits and settle the counters."""

from django.db import migrations

from tenancy.rls import DefinerFunction, Function


class Migration(migrations.Migration):
    """What the sweeps ask."""

    dependencies = [("quotas", "0003_parked_in_order")]

    operations = [
        migrations.RunSQL("CREATE SEQUENCE quotas_parked_order", "DROP SEQUENCE quotas_parked_order"),
        DefinerFunction(
            # Projects whose first parked write is due; another sample each time, so that none at its cap hides others.
            "quotas_parked_lanes(integer)",
            """quotas_parked_lanes(p_limit integer) RETURNS TABLE (organization_id uuid, project_id uuid)
            LANGUAGE sql VOLATILE AS $$
                SELECT l.organization_id, l.project_id FROM (
                    SELECT DISTINCT ON (q.organization_id, q.project_id) q.organization_id, q.project_id, q.due_at
                    FROM quotas_parkedwrite q WHERE q.state = 'parked'
                    ORDER BY q.organization_id, q.project_id, q.number
                ) l WHERE l.due_at <= clock_timestamp() ORDER BY random() LIMIT p_limit
            $$""",
        ),
        DefinerFunction(
            "quotas_counters_to_settle(interval, integer)",
            """quotas_counters_to_settle(p_grace interval, p_limit integer) RETURNS TABLE (
                organization_id uuid, counter_id uuid
            ) LANGUAGE sql STABLE AS $$
                SELECT k.organization_id, k.id FROM quotas_counter k
                WHERE k.starts_at > now() - interval '40 days' AND k.granted <> k.settled
                    AND k.marked_at < now() - p_grace
                ORDER BY k.marked_at LIMIT p_limit
            $$""",
        ),
        Function(
            # What was granted before the mark is in the events by now, or never will be; what was granted since may
            # be under way. So `used` comes down to the events' sum and what was granted since, and never lower.
            "quotas_settle(uuid, uuid, bigint)",
            """quotas_settle(p_organization uuid, p_counter uuid, p_sum bigint) RETURNS bigint
            LANGUAGE plpgsql VOLATILE AS $$
            DECLARE v_used bigint; v_change bigint;
            BEGIN
                SELECT CASE WHEN p_sum + k.granted - k.marked < k.used THEN p_sum + k.granted - k.marked
                    ELSE greatest(k.used, p_sum) END, k.used INTO v_used, v_change
                FROM quotas_counter k WHERE k.organization_id = p_organization AND k.id = p_counter FOR UPDATE;
                UPDATE quotas_counter k SET used = v_used, marked = k.granted, marked_at = now(),
                    settled = CASE WHEN k.granted = k.marked THEN k.granted ELSE k.settled END
                WHERE k.organization_id = p_organization AND k.id = p_counter;
                RETURN v_used - v_change;
            END $$""",
        ),
        DefinerFunction(
            # Days of counters, and what was applied or said long ago.
            "quotas_tidy(integer)",
            """quotas_tidy(p_days integer) RETURNS TABLE (deleted bigint) LANGUAGE plpgsql VOLATILE AS $$
            DECLARE v_before timestamptz := now() - p_days * interval '1 day'; v_some bigint; v_all bigint;
            BEGIN
                DELETE FROM quotas_counter WHERE starts_at < v_before;
                GET DIAGNOSTICS v_all = ROW_COUNT;
                DELETE FROM quotas_parkedwrite WHERE state = 'applied' AND ended_at < v_before;
                GET DIAGNOSTICS v_some = ROW_COUNT;
                RETURN QUERY SELECT v_all + v_some;
            END $$""",
        ),
    ]
