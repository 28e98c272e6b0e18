"""New end users are admitted to a billing period, imports wait too, and a parked write may wait with its end user."""

import django.contrib.postgres.indexes
import django.db.models.deletion
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity, Function


class Migration(migrations.Migration):
    """Who may write, and in which lane what may not yet waits."""

    dependencies = [
        ("quotas", "0006_samples_too"),
        ("memory", "0001_capsules"),
        ("metering", "0004_events_by_month"),
        ("tenancy", "0004_the_plan_in_columns"),
    ]

    operations = [
        migrations.AddField(
            model_name="parkedwrite",
            name="is_of_user",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AlterField(
            model_name="parkedwrite",
            name="kind",
            field=models.CharField(
                choices=[("ingest", "Turns"), ("seal", "Seal"), ("import", "Import")], max_length=16
            ),
        ),
        migrations.AlterField(
            model_name="parkedwrite",
            name="session_id",
            field=models.CharField(blank=True, max_length=255),
        ),
        migrations.AddIndex(
            model_name="parkedwrite",
            index=models.Index(
                condition=models.Q(("is_of_user", True), ("state", "parked")),
                fields=["organization", "project_id", "end_user", "number"],
                name="parked_of_user",
            ),
        ),
        migrations.CreateModel(
            name="ActiveUser",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("starts_at", models.DateTimeField()),
                ("is_sure", models.BooleanField(default=False)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [
                    django.contrib.postgres.indexes.BrinIndex(
                        autosummarize=True, fields=["starts_at"], name="active_user_oldest"
                    )
                ],
            },
        ),
        ForceRowSecurity("quotas_activeuser"),
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
                        AND NOT q.is_of_user
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
            is_replacement=True,
        ),
        Function(
            "quotas_user_id(uuid, uuid, timestamptz, text)",
            """quotas_user_id(p_organization uuid, p_project uuid, p_starts_at timestamptz, p_end_user text)
            RETURNS uuid LANGUAGE sql STABLE AS $$
                SELECT encode(substr(sha256(convert_to(
                    p_organization || ' ' || p_project || ' ' || extract(epoch FROM p_starts_at) || ' ' || p_end_user,
                    'UTF8'
                )), 1, 16), 'hex')::uuid
            $$""",
        ),
        Function(
            # The counter of end users, locked. Whoever makes it lets everybody in who has been active in the period.
            "quotas_lock_users(uuid, timestamptz)",
            """quotas_lock_users(p_organization uuid, p_starts_at timestamptz) RETURNS TABLE (id uuid, used bigint)
            LANGUAGE plpgsql VOLATILE AS $$
            DECLARE v_new uuid; v_users bigint;
            BEGIN
                INSERT INTO quotas_counter (
                    id, organization_id, allowance, level, subject_id, span, starts_at, used, granted, marked,
                    marked_at, settled
                ) VALUES (
                    gen_random_uuid(), p_organization, 'end_users', 'organization', p_organization, 'period',
                    p_starts_at, 0, 0, 0, now(), 0
                ) ON CONFLICT DO NOTHING RETURNING quotas_counter.id INTO v_new;
                IF v_new IS NOT NULL THEN
                    INSERT INTO quotas_activeuser (id, organization_id, starts_at, is_sure)
                    SELECT quotas_user_id(p_organization, e.project_id, p_starts_at, e.end_user), p_organization,
                        p_starts_at, true
                    FROM (
                        SELECT DISTINCT u.project_id, u.end_user FROM metering_usageevent u
                        WHERE u.organization_id = p_organization AND u.end_user <> '' AND u.occurred_at >= p_starts_at
                            AND u.id >= metering_first_id(p_starts_at - interval '1 day')
                    ) e ON CONFLICT DO NOTHING;
                    GET DIAGNOSTICS v_users = ROW_COUNT;
                    UPDATE quotas_counter k SET used = v_users WHERE k.id = v_new;
                END IF;
                RETURN QUERY SELECT k.id, k.used FROM quotas_counter k
                WHERE k.organization_id = p_organization AND k.allowance = 'end_users'
                    AND k.subject_id = p_organization AND k.span = 'period' AND k.starts_at = p_starts_at
                FOR UPDATE;
            END $$""",
        ),
        Function(
            # Whether an end user's write may go on: of `p_end_user`, else of whom the session is, else of `p_default`.
            # Nobody is counted (`free`) where nothing limits them and nothing has in this period.
            "quotas_enter(uuid, uuid, text, text, text, boolean)",
            """quotas_enter(
                p_organization uuid, p_project uuid, p_end_user text, p_session text, p_default text,
                p_is_queued boolean
            ) RETURNS TABLE (
                state text, person uuid, rest bigint, ends_at double precision, is_throttled boolean,
                cap_amount bigint, cap_reaction text
            ) LANGUAGE plpgsql VOLATILE AS $$
            DECLARE
                v_limit bigint; v_starts_at timestamptz; v_ends_at timestamptz; v_user text; v_counter uuid;
                v_used bigint; w record;
            BEGIN
                SELECT o.end_user_limit INTO v_limit FROM tenancy_organization o WHERE o.id = p_organization;
                SELECT p.starts_at, p.ends_at INTO v_starts_at, v_ends_at FROM quotas_period(p_organization) p;
                ends_at := extract(epoch FROM v_ends_at);
                is_throttled := false;
                IF NOT quotas_counts_users(p_organization, v_starts_at) THEN
                    state := 'free';
                    RETURN NEXT;
                    RETURN;
                END IF;
                v_user := p_end_user;
                IF v_user IS NULL THEN
                    SELECT s.user_id INTO v_user FROM memory_session s WHERE s.organization_id = p_organization
                        AND s.project_id = p_project AND s.external_id = p_session;
                END IF;
                v_user := coalesce(v_user, p_default);
                IF v_user IS NULL THEN
                    state := 'nobody';  -- the write will be refused: it is to no session there is
                    RETURN NEXT;
                    RETURN;
                END IF;
                IF NOT p_is_queued AND EXISTS (
                    SELECT 1 FROM quotas_parkedwrite q WHERE q.organization_id = p_organization
                        AND q.project_id = p_project AND q.end_user = v_user AND q.state = 'parked' AND q.is_of_user
                ) THEN
                    state := 'queued'; cap_reaction := 'park';
                    RETURN NEXT;
                    RETURN;
                END IF;
                person := quotas_user_id(p_organization, p_project, v_starts_at, v_user);
                IF quotas_is_in(p_organization, person) THEN
                    state := 'known';
                    RETURN NEXT;
                    RETURN;
                END IF;
                SELECT k.id, k.used INTO v_counter, v_used FROM quotas_lock_users(p_organization, v_starts_at) k;
                IF quotas_is_in(p_organization, person) THEN  -- somebody was faster, or the counter began with them
                    state := 'known';
                    RETURN NEXT;
                    RETURN;
                END IF;
                FOR w IN
                    SELECT v_limit AS amount, 'stop' AS reaction WHERE v_limit IS NOT NULL
                    UNION ALL
                    SELECT c.amount, c.reaction FROM quotas_cap c
                    WHERE c.organization_id = p_organization AND c.allowance = 'end_users'
                LOOP
                    rest := least(rest, greatest(w.amount - v_used - 1, 0));
                    IF w.reaction IN ('stop', 'park') THEN
                        IF cap_amount IS NULL OR w.amount < cap_amount
                            OR (w.amount = cap_amount AND w.reaction = 'park') THEN
                            cap_amount := w.amount; cap_reaction := w.reaction;
                        END IF;
                    ELSE
                        is_throttled := is_throttled OR (w.reaction = 'throttle' AND v_used >= w.amount);
                    END IF;
                END LOOP;
                IF v_used >= cap_amount THEN
                    state := 'full'; rest := 0;
                    RETURN NEXT;
                    RETURN;
                END IF;
                INSERT INTO quotas_activeuser (id, organization_id, starts_at, is_sure)
                VALUES (person, p_organization, v_starts_at, false);
                UPDATE quotas_counter k SET used = k.used + 1 WHERE k.id = v_counter;
                state := 'new';
                RETURN NEXT;
            END $$""",
        ),
        Function(
            "quotas_counts_users(uuid, timestamptz)",
            """quotas_counts_users(p_organization uuid, p_starts_at timestamptz) RETURNS boolean
            LANGUAGE sql STABLE AS $$
                SELECT EXISTS (
                    SELECT 1 FROM tenancy_organization o WHERE o.id = p_organization AND o.end_user_limit IS NOT NULL
                ) OR EXISTS (
                    SELECT 1 FROM quotas_cap c WHERE c.organization_id = p_organization AND c.allowance = 'end_users'
                ) OR EXISTS (
                    SELECT 1 FROM quotas_counter k WHERE k.organization_id = p_organization
                        AND k.allowance = 'end_users' AND k.subject_id = p_organization AND k.span = 'period'
                        AND k.starts_at = p_starts_at
                )
            $$""",
        ),
        Function(
            # Whether the end user is in already; then nobody may take that back any more.
            "quotas_is_in(uuid, uuid)",
            """quotas_is_in(p_organization uuid, p_person uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                UPDATE quotas_activeuser a SET is_sure = true
                WHERE a.id = p_person AND a.organization_id = p_organization AND NOT a.is_sure;
                RETURN FOUND OR EXISTS (
                    SELECT 1 FROM quotas_activeuser a WHERE a.id = p_person AND a.organization_id = p_organization
                );
            END $$""",
        ),
        Function(
            # Takes back who was let in for a write that has failed, unless another write relies on it.
            "quotas_leave(uuid, uuid)",
            """quotas_leave(p_organization uuid, p_person uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
            DECLARE v_starts_at timestamptz; v_counter uuid;
            BEGIN
                SELECT a.starts_at INTO v_starts_at FROM quotas_activeuser a
                WHERE a.id = p_person AND a.organization_id = p_organization;
                IF NOT FOUND THEN
                    RETURN false;
                END IF;
                SELECT k.id INTO v_counter FROM quotas_lock_users(p_organization, v_starts_at) k;
                DELETE FROM quotas_activeuser a
                WHERE a.id = p_person AND a.organization_id = p_organization AND NOT a.is_sure;
                IF NOT FOUND THEN
                    RETURN false;
                END IF;
                UPDATE quotas_counter k SET used = k.used - 1 WHERE k.id = v_counter;
                RETURN true;
            END $$""",
        ),
        migrations.RunSQL("DROP FUNCTION quotas_parked_lanes(integer)", migrations.RunSQL.noop),  # one column more
        DefinerFunction(
            # Lanes whose first parked write is due; another sample each time, so that none at its cap hides others.
            "quotas_parked_lanes(integer)",
            """quotas_parked_lanes(p_limit integer) RETURNS TABLE (
                organization_id uuid, project_id uuid, end_user text
            ) LANGUAGE sql VOLATILE AS $$
                SELECT l.organization_id, l.project_id, l.lane FROM (
                    SELECT DISTINCT ON (q.organization_id, q.project_id, q.lane) q.* FROM (
                        SELECT w.organization_id, w.project_id, w.due_at, w.number,
                            CASE WHEN w.is_of_user THEN w.end_user END AS lane
                        FROM quotas_parkedwrite w WHERE w.state = 'parked'
                    ) q
                    ORDER BY q.organization_id, q.project_id, q.lane, q.number
                ) l WHERE l.due_at <= clock_timestamp() ORDER BY random() LIMIT p_limit
            $$""",
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
                        WHEN 'documents' THEN o.document_limit WHEN 'end_users' THEN o.end_user_limit END AS cap
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
            # Days of counters, who was counted in periods that are over, and what was applied or said long ago.
            "quotas_tidy(integer)",
            """quotas_tidy(p_days integer) RETURNS TABLE (deleted bigint) LANGUAGE plpgsql VOLATILE AS $$
            DECLARE
                v_before timestamptz := now() - p_days * interval '1 day'; v_some bigint; v_all bigint; v_users bigint;
            BEGIN
                DELETE FROM quotas_activeuser WHERE starts_at < now() - interval '40 days';  -- longer than a period
                GET DIAGNOSTICS v_users = ROW_COUNT;
                DELETE FROM quotas_counter WHERE starts_at < v_before;
                GET DIAGNOSTICS v_all = ROW_COUNT;
                DELETE FROM quotas_parkedwrite WHERE state = 'applied' AND ended_at < v_before;
                GET DIAGNOSTICS v_some = ROW_COUNT;
                RETURN QUERY SELECT v_all + v_some + v_users;
            END $$""",
            is_replacement=True,
        ),
    ]
