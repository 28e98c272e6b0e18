"""Writing an event with its deliveries, taking them on, writing down what came of them, and forgetting the old."""

from django.db import migrations

from tenancy.rls import DefinerFunction, Function

# The first time-ordered id (RFC 9562, version 7) of a moment.
FIRST_ID = """webhooks_first_id(p_moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM p_moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$"""
WANTS = """webhooks_wants(p_types text[], p_projects uuid[], p_type text, p_project uuid) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT p_type <> 'webhooks.test'
        AND (cardinality(p_types) = 0 OR p_type = ANY (p_types) OR split_part(p_type, '.', 1) || '.*' = ANY (p_types))
        AND (p_project IS NULL OR cardinality(p_projects) = 0 OR p_project = ANY (p_projects))
$$"""
# An event that no endpoint wants is not kept.
EMIT = """webhooks_emit(
    p_organization uuid, p_event uuid, p_project uuid, p_type text, p_key text, p_body text, p_at timestamptz
) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE v_count bigint;
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM webhooks_endpoint e
        WHERE e.organization_id = p_organization AND e.state IN ('active', 'paused')
            AND webhooks_wants(e.event_types::text[], e.project_ids, p_type, p_project)
    ) THEN RETURN 0; END IF;
    INSERT INTO webhooks_event (id, organization_id, project_id, number, type, key, body, occurred_at)
    VALUES (p_event, p_organization, p_project, nextval('webhooks_order'), p_type, p_key, p_body, p_at)
    ON CONFLICT (organization_id, key) DO NOTHING;
    IF NOT FOUND THEN RETURN 0; END IF;
    INSERT INTO webhooks_delivery (
        id, organization_id, endpoint_id, event_id, number, reason, state, attempts, due_at, last_code, created_at
    )
    SELECT uuidv7(), p_organization, e.id, p_event, nextval('webhooks_order'), 'event', 'pending', 0,
        clock_timestamp(), '', clock_timestamp()
    FROM webhooks_endpoint e
    WHERE e.organization_id = p_organization AND e.state IN ('active', 'paused')
        AND webhooks_wants(e.event_types::text[], e.project_ids, p_type, p_project);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$"""
# What is waiting already is not sent a second time.
REPLAY = """webhooks_replay(p_organization uuid, p_endpoint uuid, p_since timestamptz, p_until timestamptz)
RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE v_count bigint;
BEGIN
    INSERT INTO webhooks_delivery (
        id, organization_id, endpoint_id, event_id, number, reason, state, attempts, due_at, last_code, created_at
    )
    SELECT uuidv7(), p_organization, p_endpoint, v.id, nextval('webhooks_order'), 'replay', 'pending', 0,
        clock_timestamp(), '', clock_timestamp()
    FROM (
        SELECT v.id FROM webhooks_event v
        JOIN webhooks_endpoint e ON e.organization_id = p_organization AND e.id = p_endpoint
        WHERE v.organization_id = p_organization AND v.occurred_at >= p_since AND v.occurred_at < p_until
            AND webhooks_wants(e.event_types::text[], e.project_ids, v.type, v.project_id)
            AND NOT EXISTS (
                SELECT 1 FROM webhooks_delivery d
                WHERE d.event_id = v.id AND d.endpoint_id = p_endpoint AND d.state = 'pending'
            )
        ORDER BY v.number
    ) v;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$"""
# Endpoints with something due are found by one look into the index for each, and locked, so that two workers never
# have one at once; then each gives a few, in turns: first every endpoint's first, and of one organization so many at a
# time. An endpoint that is ordered, that fails or that never answered has one at a time. Tests (negative numbers) go to
# any. Locks come in one order, endpoints before deliveries, here and in webhooks_settle.
CLAIM = """webhooks_claim(p_slots integer, p_each integer, p_of_one integer, p_most integer, p_lease interval)
RETURNS TABLE (
    delivery_id uuid, organization_id uuid, endpoint_id uuid, url text, sealed_keys bytea, sealed_previous bytea,
    event_id uuid, body text, attempt integer, is_test boolean
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE v_now timestamptz := clock_timestamp(); v_endpoints uuid[];
BEGIN
    UPDATE webhooks_delivery d SET state = 'dead', last_code = 'lost', done_at = v_now, leased_until = NULL
    WHERE d.state = 'pending' AND d.leased_until <= v_now AND d.attempts >= p_most;
    WITH RECURSIVE lanes AS (
        (
            SELECT d.endpoint_id FROM webhooks_delivery d WHERE d.state = 'pending' ORDER BY d.endpoint_id LIMIT 1
        )
        UNION ALL
        SELECT n.endpoint_id FROM lanes l CROSS JOIN LATERAL (
            SELECT d.endpoint_id FROM webhooks_delivery d
            WHERE d.state = 'pending' AND d.endpoint_id > l.endpoint_id ORDER BY d.endpoint_id LIMIT 1
        ) n
    ), open AS (
        SELECT e.id, row_number() OVER (PARTITION BY e.organization_id ORDER BY random()) AS turn
        FROM lanes l
        JOIN webhooks_endpoint e ON e.id = l.endpoint_id
        JOIN tenancy_organization o ON o.id = e.organization_id AND o.closed_at IS NULL
        CROSS JOIN LATERAL (
            SELECT d.number FROM webhooks_delivery d
            WHERE d.endpoint_id = e.id AND d.state = 'pending' AND d.due_at <= v_now
                AND (d.leased_until IS NULL OR d.leased_until <= v_now)
            ORDER BY d.number LIMIT 1
        ) first
        WHERE first.number < 0 OR (e.state = 'active' AND (e.retry_at IS NULL OR e.retry_at <= v_now))
    ), locked AS (
        SELECT e.id FROM webhooks_endpoint e
        JOIN (SELECT c.id FROM open c ORDER BY c.turn, random() LIMIT p_slots) c ON c.id = e.id
        FOR NO KEY UPDATE OF e SKIP LOCKED
    )
    SELECT array_agg(l.id) INTO v_endpoints FROM locked l;
    IF v_endpoints IS NULL THEN RETURN; END IF;
    RETURN QUERY
    WITH busy AS (
        SELECT d.organization_id, d.endpoint_id, count(*) AS n FROM webhooks_delivery d
        WHERE d.state = 'pending' AND d.leased_until > v_now GROUP BY 1, 2
    ), asked AS (
        SELECT e.id, e.organization_id, e.is_ordered,
            CASE WHEN e.state <> 'active' OR e.retry_at > v_now THEN 0
                ELSE CASE WHEN e.is_ordered OR e.failures > 0 OR e.last_success_at IS NULL THEN 1 ELSE p_each END
            END - coalesce((SELECT b.n FROM busy b WHERE b.endpoint_id = e.id), 0) AS room
        FROM webhooks_endpoint e WHERE e.id = ANY (v_endpoints)
    ), due AS (
        SELECT p.id, a.organization_id, row_number() OVER (PARTITION BY a.id ORDER BY p.number) AS turn
        FROM asked a CROSS JOIN LATERAL (
            (
                SELECT d.id, d.number FROM webhooks_delivery d
                WHERE d.endpoint_id = a.id AND d.state = 'pending' AND d.number < 0
                    AND (d.leased_until IS NULL OR d.leased_until <= v_now)
                ORDER BY d.number LIMIT 1
            )
            UNION ALL
            (
                SELECT d.id, d.number FROM webhooks_delivery d
                WHERE NOT a.is_ordered AND d.endpoint_id = a.id AND d.state = 'pending' AND d.number > 0
                    AND d.due_at <= v_now AND (d.leased_until IS NULL OR d.leased_until <= v_now)
                ORDER BY d.number LIMIT greatest(a.room, 0)
            )
            UNION ALL
            SELECT h.id, h.number FROM (
                SELECT d.id, d.number, d.due_at, d.leased_until FROM webhooks_delivery d
                WHERE a.is_ordered AND a.room > 0 AND d.endpoint_id = a.id AND d.state = 'pending' AND d.number > 0
                ORDER BY d.number LIMIT 1
            ) h WHERE h.due_at <= v_now AND (h.leased_until IS NULL OR h.leased_until <= v_now)
        ) p
    ), fair AS (
        SELECT q.id, row_number() OVER (PARTITION BY q.organization_id ORDER BY q.turn, random())
            + coalesce((SELECT sum(b.n) FROM busy b WHERE b.organization_id = q.organization_id), 0) AS turn
        FROM due q
    ), claimed AS (
        UPDATE webhooks_delivery d SET leased_until = v_now + p_lease, attempts = d.attempts + 1
        FROM (SELECT f.id FROM fair f WHERE f.turn <= p_of_one ORDER BY f.turn, random() LIMIT p_slots) f
        WHERE d.id = f.id AND d.state = 'pending' RETURNING d.*
    )
    SELECT c.id, c.organization_id, c.endpoint_id, e.url::text, e.sealed_keys,
        CASE WHEN e.previous_until > v_now THEN e.sealed_previous END, c.event_id, v.body, c.attempts, c.number < 0
    FROM claimed c
    JOIN webhooks_endpoint e ON e.id = c.endpoint_id
    JOIN webhooks_event v ON v.id = c.event_id;
END $$"""
# Of two workers that had the same delivery (the first had lost its lease) a success counts from either, a failure only
# from the one who has it now. A round with one success is a success of the endpoint. Returns whose health has changed.
SETTLE = """webhooks_settle(p_results jsonb, p_longest_pause double precision)
RETURNS TABLE (organization_id uuid, endpoint_id uuid, failures integer, failing_since timestamptz, is_gone boolean)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM 1 FROM webhooks_endpoint e
    WHERE e.id IN (SELECT (r ->> 'endpoint_id')::uuid FROM jsonb_array_elements(p_results) r)
    ORDER BY e.id FOR NO KEY UPDATE;
    INSERT INTO webhooks_attempt (
        id, organization_id, delivery_id, endpoint_id, number, started_at, milliseconds, status, code, sentence,
        has_arrived, request, response
    )
    SELECT uuidv7(), d.organization_id, d.id, d.endpoint_id, r.attempt, r.started_at, r.milliseconds, r.status,
        r.code, r.sentence, r.outcome = 'delivered', r.request, r.response
    FROM jsonb_to_recordset(p_results) AS r(
        delivery_id uuid, attempt integer, started_at timestamptz, milliseconds integer, status integer, code text,
        sentence text, outcome text, request jsonb, response jsonb
    ) JOIN webhooks_delivery d ON d.id = r.delivery_id;
    UPDATE webhooks_delivery d SET
        state = CASE r.outcome WHEN 'retry' THEN 'pending' ELSE r.outcome END,
        leased_until = NULL, last_status = r.status, last_code = r.code,
        due_at = v_now + coalesce(r.retry_in, 0) * interval '1 second',
        done_at = CASE WHEN r.outcome <> 'retry' THEN v_now END
    FROM jsonb_to_recordset(p_results) AS r(
        delivery_id uuid, attempt integer, status integer, code text, outcome text, retry_in double precision
    )
    WHERE d.id = r.delivery_id AND d.state = 'pending' AND (r.outcome = 'delivered' OR d.attempts = r.attempt);
    RETURN QUERY
    WITH round AS (
        SELECT r.endpoint_id AS id, bool_or(r.outcome = 'delivered') AS went, max(r.hold) AS hold,
            bool_or(coalesce(r.status = 410, false)) AS gone
        FROM jsonb_to_recordset(p_results) AS r(
            endpoint_id uuid, outcome text, hold double precision, status integer, is_test boolean
        )
        WHERE NOT r.is_test OR r.outcome = 'delivered' GROUP BY r.endpoint_id
    )
    UPDATE webhooks_endpoint e SET
        failures = CASE WHEN r.went THEN 0 ELSE e.failures + 1 END,
        failing_since = CASE WHEN r.went THEN NULL ELSE coalesce(e.failing_since, v_now) END,
        last_success_at = CASE WHEN r.went THEN v_now ELSE e.last_success_at END,
        retry_at = CASE
            WHEN r.hold IS NOT NULL THEN v_now + r.hold * interval '1 second'
            WHEN NOT r.went THEN v_now + (1 + random() * 0.2) * interval '1 second'
                * least(p_longest_pause, 5 * 2 ^ least(e.failures, 16))
        END
    FROM round r
    WHERE e.id = r.id AND (
        NOT r.went OR r.hold IS NOT NULL OR e.failures > 0 OR e.last_success_at IS NULL
        OR e.last_success_at < v_now - interval '1 minute'
    )
    RETURNING e.organization_id, e.id, e.failures, e.failing_since, r.gone;
END $$"""
# A bounded part of what is too old: call it until it finds nothing.
TIDY = """webhooks_tidy(p_waits interval, p_kept interval, p_limit integer)
RETURNS TABLE (given_up bigint, deleted bigint) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now timestamptz := clock_timestamp(); v_old uuid := webhooks_first_id(clock_timestamp() - p_kept);
    v_given_up bigint; v_some bigint; v_deleted bigint := 0;
BEGIN
    UPDATE webhooks_delivery d SET state = 'dead', last_code = 'expired', done_at = v_now
    WHERE d.id IN (
        SELECT q.id FROM webhooks_delivery q
        WHERE q.state = 'pending' AND q.id < webhooks_first_id(v_now - p_waits)
            AND (q.leased_until IS NULL OR q.leased_until <= v_now) ORDER BY q.id LIMIT p_limit
    ) AND d.state = 'pending';
    GET DIAGNOSTICS v_given_up = ROW_COUNT;
    DELETE FROM webhooks_attempt a WHERE a.id IN (
        SELECT q.id FROM webhooks_attempt q WHERE q.id < v_old ORDER BY q.id LIMIT p_limit
    );
    GET DIAGNOSTICS v_some = ROW_COUNT; v_deleted := v_deleted + v_some;
    DELETE FROM webhooks_delivery d WHERE d.id IN (
        SELECT q.id FROM webhooks_delivery q WHERE q.id < v_old AND q.state <> 'pending'
            AND NOT EXISTS (SELECT 1 FROM webhooks_attempt a WHERE a.delivery_id = q.id)
        ORDER BY q.id LIMIT p_limit
    );
    GET DIAGNOSTICS v_some = ROW_COUNT; v_deleted := v_deleted + v_some;
    DELETE FROM webhooks_event v WHERE v.id IN (
        SELECT q.id FROM webhooks_event q WHERE q.id < v_old
            AND NOT EXISTS (SELECT 1 FROM webhooks_delivery d WHERE d.event_id = q.id)
        ORDER BY q.id LIMIT p_limit
    );
    GET DIAGNOSTICS v_some = ROW_COUNT; v_deleted := v_deleted + v_some;
    DELETE FROM webhooks_endpoint e WHERE e.state = 'deleted' AND e.state_since < v_now - p_kept
        AND NOT EXISTS (
            SELECT 1 FROM webhooks_delivery d WHERE d.organization_id = e.organization_id AND d.endpoint_id = e.id
        );
    GET DIAGNOSTICS v_some = ROW_COUNT; v_deleted := v_deleted + v_some;
    RETURN QUERY SELECT v_given_up, v_deleted;
END $$"""


class Migration(migrations.Migration):
    """What the engine asks of PostgreSQL."""

    dependencies = [("webhooks", "0001_endpoints_and_what_they_are_told")]

    operations = [
        Function("webhooks_first_id(timestamptz)", FIRST_ID),
        Function("webhooks_wants(text[], uuid[], text, uuid)", WANTS),
        migrations.RunSQL(
            "GRANT EXECUTE ON FUNCTION webhooks_first_id(timestamptz) TO capsule_definer",
            "REVOKE EXECUTE ON FUNCTION webhooks_first_id(timestamptz) FROM capsule_definer",
        ),
        Function("webhooks_emit(uuid, uuid, uuid, text, text, text, timestamptz)", EMIT),
        Function("webhooks_replay(uuid, uuid, timestamptz, timestamptz)", REPLAY),
        DefinerFunction("webhooks_claim(integer, integer, integer, integer, interval)", CLAIM),
        DefinerFunction("webhooks_settle(jsonb, double precision)", SETTLE),
        DefinerFunction("webhooks_tidy(interval, interval, integer)", TIDY),
    ]
