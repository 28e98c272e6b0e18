"""What the sealer does across organizations: it takes events that are settled, and puts what proves them."""

from django.db import migrations

from tenancy.rls import DefinerFunction


def damaged(organization_id: str) -> str:
    """Whether a tree cannot grow, as an SQL expression: its head is not of its leaves, or what comes is there."""
    return f"""coalesce((
        SELECT h.size <> 1 + coalesce(
                (SELECT max(l.seq) FROM audit_sealing_leaf l WHERE l.organization_id = o.id), -1
            )
            OR octet_length(h.frontier) <> 32 * bit_count(h.size::bit(64))
            OR h.size < (SELECT max(c.size) FROM audit_sealing_checkpoint c WHERE c.organization_id = o.id)
            OR EXISTS (
                SELECT FROM (VALUES (8), (16), (24)) AS stored(level)
                WHERE (h.size >> stored.level) <= (
                    SELECT max(n.place) FROM audit_sealing_node n
                    WHERE n.organization_id = o.id AND n.level = stored.level
                )
            )
        FROM (SELECT {organization_id} AS id) o
        LEFT JOIN audit_sealing_treehead t ON t.organization_id = o.id
        CROSS JOIN LATERAL (
            SELECT coalesce(t.size, 0) AS size, coalesce(t.frontier, ''::bytea) AS frontier
        ) h
    ), false)"""  # noqa: S608  # our own names


# Places events after their organization's last leaf and hands out what the trees need in order to grow. The hash is
# RFC 6962's of a leaf. A cover of `taken`: the events, with their xid. A damaged tree gets no leaves, and is given out
# without its frontier; it is looked at once for each organization, not for each event.
PLACE = f"""
    aside AS MATERIALIZED (
        SELECT d.organization_id FROM (SELECT DISTINCT t.organization_id FROM taken t) d
        WHERE {damaged("d.organization_id")}
    ), placed AS MATERIALIZED (
        SELECT t.organization_id, t.id, t.hash, coalesce(h.size, 0) AS size, h.frontier,
            coalesce(h.size, 0) - 1 + row_number() OVER (PARTITION BY t.organization_id ORDER BY t.xid, t.id) AS seq,
            t.organization_id IN (SELECT a.organization_id FROM aside a) AS is_aside
        FROM taken t LEFT JOIN audit_sealing_treehead h ON h.organization_id = t.organization_id
    ), stored AS (
        INSERT INTO audit_sealing_leaf (organization_id, seq, event_id, hash)
        SELECT p.organization_id, p.seq, p.id, p.hash FROM placed p WHERE NOT p.is_aside
        ORDER BY p.organization_id, p.seq
    )
"""  # noqa: S608  # our own names
GIVE = """
    SELECT p.organization_id, p.size, CASE WHEN NOT p.is_aside THEN coalesce(p.frontier, ''::bytea) END,
        string_agg(p.hash, ''::bytea ORDER BY p.seq), min(uuid_extract_timestamp(p.id))
    FROM placed p GROUP BY p.organization_id, p.size, p.frontier, p.is_aside
"""
RETURNED = "RETURNS TABLE (organization_id uuid, size bigint, frontier bytea, hashes bytea, oldest timestamptz)"
# Only index scans keep the order that LIMIT stops: a plan that sorts would read everything that is not sealed.
SETTINGS = "LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off"
LOCK = "pg_try_advisory_xact_lock(hashtext('audit_sealing'))"
HASH = "sha256('\\x00'::bytea || convert_to(e.body, 'UTF8'))"


class Migration(migrations.Migration):
    """Functions."""

    dependencies = [("audit_sealing", "0001_what_proves_the_trail"), ("webhooks", "0002_the_engine")]

    operations = [
        DefinerFunction(
            # Everything below xmin has ended: no event can appear there any more, so what the cursor has passed is
            # whole. The columns are qualified: ordered by its text, transaction 100,000 would come before 99,999.
            # Whether an event has its leaf, so that a cursor that is set back seals nothing twice, is asked for each
            # in a subquery: a join might sort, and LIMIT stop nothing. The cursor passes what is set aside:
            # audit_sealing_take_missed finds it once the tree is mended.
            "audit_sealing_take(integer)",
            f"""audit_sealing_take(p_limit integer) {RETURNED} {SETTINGS} AS $$
            DECLARE
                v_log audit_sealing_log;
                v_horizon xid8;
            BEGIN
                IF NOT {LOCK} THEN
                    RETURN;
                END IF;
                SELECT l.* INTO STRICT v_log FROM audit_sealing_log l FOR UPDATE;
                v_horizon := pg_snapshot_xmin(pg_current_snapshot());
                IF v_log.cursor_xid > pg_snapshot_xmax(pg_current_snapshot())::text::bigint THEN
                    RAISE EXCEPTION 'the trail is sealed up to transaction %, which this server has not reached: it '
                        'was restored from a dump; run `manage.py audit_sealer --after-restore`', v_log.cursor_xid;
                END IF;
                RETURN QUERY
                WITH taken AS MATERIALIZED (
                    SELECT e.organization_id, e.id, e.xid, {HASH} AS hash
                    FROM audit_auditevent e
                    WHERE (e.xid, e.id) > (v_log.cursor_xid::text::xid8, v_log.cursor_id) AND e.xid < v_horizon
                        AND NOT coalesce((
                            SELECT true FROM audit_sealing_leaf l
                            WHERE l.organization_id = e.organization_id AND l.event_id = e.id
                        ), false)
                    ORDER BY e.xid, e.id LIMIT p_limit
                ), {PLACE}, moved AS (
                    UPDATE audit_sealing_log l SET cursor_xid = o.xid::text::bigint, cursor_id = o.id
                    FROM (SELECT t.xid, t.id FROM taken t ORDER BY t.xid DESC, t.id DESC LIMIT 1) o
                )
                {GIVE};
            END $$""",  # noqa: S608  # the texts above
        ),
        DefinerFunction(
            # What the cursor has passed and nobody has sealed; with `p_everything` also what it has not passed. But not
            # of the organizations that earlier batches found damaged: a batch full of their events would be the same
            # for ever.
            "audit_sealing_take_missed(integer, timestamptz, timestamptz, boolean, uuid[])",
            f"""audit_sealing_take_missed(
                p_limit integer, p_since timestamptz, p_until timestamptz, p_everything boolean, p_aside uuid[]
            ) {RETURNED} {SETTINGS} AS $$
            DECLARE
                v_log audit_sealing_log;
                v_horizon xid8;
            BEGIN
                IF NOT {LOCK} THEN
                    RETURN;
                END IF;
                SELECT l.* INTO STRICT v_log FROM audit_sealing_log l FOR UPDATE;
                v_horizon := pg_snapshot_xmin(pg_current_snapshot());
                RETURN QUERY
                WITH taken AS MATERIALIZED (
                    SELECT e.organization_id, e.id, e.xid, {HASH} AS hash
                    FROM audit_auditevent e
                    WHERE e.id >= audit_first_id(p_since) AND e.id < audit_first_id(p_until)
                        AND e.organization_id <> ALL (p_aside)
                        AND (p_everything OR (
                            e.xid < v_horizon
                            AND (e.xid, e.id) <= (v_log.cursor_xid::text::xid8, v_log.cursor_id)
                        ))
                        AND NOT EXISTS (
                            SELECT FROM audit_sealing_leaf l
                            WHERE l.organization_id = e.organization_id AND l.event_id = e.id
                        )
                    ORDER BY e.xid, e.id LIMIT p_limit
                ), {PLACE}
                {GIVE};
            END $$""",  # noqa: S608  # likewise
        ),
        DefinerFunction(
            # The trees' new heads, the checkpoints that are signed, and the log of all with an entry for each. It
            # believes the hashes, which everybody can compute again, but not the sizes.
            "audit_sealing_put(uuid[], bigint[], bytea[], bytea[], text[], uuid[], smallint[], bigint[], bytea[], "
            "bytea[], bytea, text, text, smallint[], bigint[], bytea[])",
            """audit_sealing_put(
                p_organizations uuid[], p_sizes bigint[], p_frontiers bytea[], p_roots bytea[], p_notes text[],
                p_node_organizations uuid[], p_node_levels smallint[], p_node_places bigint[], p_node_hashes bytea[],
                p_entries bytea[], p_log_frontier bytea, p_log_note text, p_origin text,
                p_log_levels smallint[], p_log_places bigint[], p_log_hashes bytea[]
            ) RETURNS TABLE (log_size bigint) LANGUAGE plpgsql VOLATILE AS $$
            DECLARE
                v_first bigint;
            BEGIN
                SELECT l.size INTO STRICT v_first FROM audit_sealing_log l FOR UPDATE;
                IF EXISTS (
                    SELECT FROM unnest(p_organizations, p_sizes) AS n(organization_id, size)
                    WHERE n.size IS DISTINCT FROM 1 + (
                        SELECT max(l.seq) FROM audit_sealing_leaf l WHERE l.organization_id = n.organization_id
                    )
                ) THEN
                    RAISE EXCEPTION 'a tree has as many leaves as are stored'
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                INSERT INTO audit_sealing_treehead AS h (organization_id, size, frontier)
                SELECT n.* FROM unnest(p_organizations, p_sizes, p_frontiers) AS n(organization_id, size, frontier)
                ORDER BY n.organization_id
                ON CONFLICT (organization_id) DO UPDATE SET size = excluded.size, frontier = excluded.frontier;
                INSERT INTO audit_sealing_node (organization_id, level, place, hash)
                SELECT * FROM unnest(p_node_organizations, p_node_levels, p_node_places, p_node_hashes);
                INSERT INTO audit_sealing_checkpoint (organization_id, size, root, note, entry, at)
                SELECT n.organization_id, n.size, n.root, n.note, v_first + n.number - 1, clock_timestamp()
                FROM unnest(p_organizations, p_sizes, p_roots, p_notes) WITH ORDINALITY
                    AS n(organization_id, size, root, note, number);
                INSERT INTO audit_sealing_logentry (place, hash)
                SELECT v_first + n.number - 1, n.hash FROM unnest(p_entries) WITH ORDINALITY AS n(hash, number);
                INSERT INTO audit_sealing_lognode (level, place, hash)
                SELECT * FROM unnest(p_log_levels, p_log_places, p_log_hashes);
                UPDATE audit_sealing_log l SET size = v_first + cardinality(p_entries), frontier = p_log_frontier,
                    note = p_log_note, origin = p_origin, sealed_at = clock_timestamp()
                RETURNING l.size INTO log_size;
                RETURN NEXT;
            END $$""",
        ),
        DefinerFunction(
            # How much waits, counted up to 100,000, and since when. Of a restored dump, events of high transaction
            # numbers are ahead of the cursor for long, and sealed.
            "audit_sealing_waiting()",
            """audit_sealing_waiting() RETURNS TABLE (events bigint, since timestamptz)
            LANGUAGE sql STABLE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
                SELECT count(*), min(uuid_extract_timestamp(w.id))
                FROM (
                    SELECT e.id FROM audit_auditevent e, audit_sealing_log l
                    WHERE (e.xid, e.id) > (l.cursor_xid::text::xid8, l.cursor_id)
                        AND NOT coalesce((
                            SELECT true FROM audit_sealing_leaf f
                            WHERE f.organization_id = e.organization_id AND f.event_id = e.id
                        ), false)
                    ORDER BY e.xid, e.id LIMIT 100000
                ) w
            $$""",
        ),
        DefinerFunction(
            # Whose trees are damaged, of those who have events without leaves, and how many of them.
            "audit_sealing_aside(timestamptz, timestamptz)",
            f"""audit_sealing_aside(p_since timestamptz, p_until timestamptz)
            RETURNS TABLE (organization_id uuid, events bigint) LANGUAGE sql STABLE AS $$
                WITH unsealed AS MATERIALIZED (
                    SELECT e.organization_id, count(*) AS events FROM audit_auditevent e
                    WHERE e.id >= audit_first_id(p_since) AND e.id < audit_first_id(p_until) AND NOT EXISTS (
                        SELECT FROM audit_sealing_leaf l
                        WHERE l.organization_id = e.organization_id AND l.event_id = e.id
                    )
                    GROUP BY e.organization_id
                )
                SELECT u.organization_id, u.events FROM unsealed u WHERE {damaged("u.organization_id")}
                ORDER BY u.organization_id
            $$""",  # noqa: S608  # likewise
        ),
        DefinerFunction(
            # Of the events of a span of time below the cursor and of the leaves: how many have no partner. Leaves
            # outlive months that were dropped, so they are compared where events are kept.
            "audit_sealing_differences(timestamptz, timestamptz)",
            """audit_sealing_differences(p_since timestamptz, p_until timestamptz)
            RETURNS TABLE (events bigint, leaves bigint, unsealed bigint, gone bigint) LANGUAGE sql STABLE AS $$
                WITH event AS MATERIALIZED (
                    SELECT e.organization_id, e.id FROM audit_auditevent e, audit_sealing_log l
                    WHERE e.id >= audit_first_id(p_since) AND e.id < audit_first_id(p_until)
                        AND ((e.xid, e.id) <= (l.cursor_xid::text::xid8, l.cursor_id) OR l.is_restored)
                        AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
                ), leaf AS MATERIALIZED (
                    SELECT f.organization_id, f.event_id FROM audit_sealing_leaf f
                    WHERE f.event_id >= audit_first_id(p_since) AND f.event_id < audit_first_id(p_until)
                )
                SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM leaf), (
                    SELECT count(*) FROM event e WHERE NOT EXISTS (
                        SELECT FROM audit_sealing_leaf l
                        WHERE l.organization_id = e.organization_id AND l.event_id = e.id
                    )
                ), (
                    SELECT count(*) FROM leaf f WHERE NOT EXISTS (
                        SELECT FROM audit_auditevent e WHERE e.organization_id = f.organization_id AND e.id = f.event_id
                    )
                )
            $$""",
        ),
        DefinerFunction(
            # After a restore from a dump: what comes now has lower transaction numbers than what is sealed.
            "audit_sealing_restart()",
            """audit_sealing_restart() RETURNS TABLE (cursor_xid bigint) LANGUAGE sql VOLATILE AS $$
                UPDATE audit_sealing_log l SET is_restored = true, cursor_id = '00000000-0000-0000-0000-000000000000',
                    cursor_xid = 0
                RETURNING l.cursor_xid
            $$""",
        ),
        DefinerFunction(
            # Whose checkpoints have grown since the last that left the house by this way
            "audit_sealing_unpublished(text, timestamptz, integer)",
            """audit_sealing_unpublished(p_via text, p_before timestamptz, p_limit integer)
            RETURNS TABLE (organization_id uuid) LANGUAGE sql STABLE AS $$
                SELECT h.organization_id FROM audit_sealing_treehead h
                JOIN tenancy_organization o ON o.id = h.organization_id AND o.closed_at IS NULL
                LEFT JOIN LATERAL (
                    SELECT p.size, p.at FROM audit_sealing_publication p
                    WHERE p.organization_id = h.organization_id AND p.via = p_via ORDER BY p.size DESC LIMIT 1
                ) last ON true
                WHERE h.size > coalesce(last.size, 0) AND coalesce(last.at, '-infinity') < p_before
                    AND (p_via <> 'webhook' OR EXISTS (
                        SELECT FROM webhooks_endpoint e
                        WHERE e.organization_id = h.organization_id AND e.state IN ('active', 'paused')
                    ))
                ORDER BY h.organization_id LIMIT p_limit
            $$""",
        ),
    ]
