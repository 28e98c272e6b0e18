"""What the sealer does across organizations: it takes events that are settled, and puts what proves them."""

from django.db import migrations

from tenancy.rls import DefinerFunction

# Places events after their organization's last leaf and hands out what the trees need in order to grow. The hash is
# RFC 6962's of a leaf. A cover of `taken`: the events, with their xid.
PLACE = """
    placed AS MATERIALIZED (
        SELECT t.organization_id, t.id, t.hash, coalesce(h.size, 0) AS size, h.frontier,
            coalesce(h.size, 0) - 1 + row_number() OVER (PARTITION BY t.organization_id ORDER BY t.xid, t.id) AS seq
        FROM taken t LEFT JOIN audit_sealing_treehead h ON h.organization_id = t.organization_id
    ), stored AS (
        INSERT INTO audit_sealing_leaf (organization_id, seq, event_id, hash)
        SELECT p.organization_id, p.seq, p.id, p.hash FROM placed p ORDER BY p.organization_id, p.seq
    )
"""
GIVE = """
    SELECT p.organization_id, p.size, coalesce(p.frontier, ''::bytea), string_agg(p.hash, ''::bytea ORDER BY p.seq),
        min(uuid_extract_timestamp(p.id))
    FROM placed p GROUP BY p.organization_id, p.size, p.frontier
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
                        AND NOT (v_log.is_restored AND EXISTS (
                            SELECT FROM audit_sealing_leaf l
                            WHERE l.organization_id = e.organization_id AND l.event_id = e.id
                        ))
                    ORDER BY e.xid, e.id LIMIT p_limit
                ), {PLACE}, moved AS (
                    UPDATE audit_sealing_log l SET cursor_xid = o.xid::text::bigint, cursor_id = o.id
                    FROM (SELECT t.xid, t.id FROM taken t ORDER BY t.xid DESC, t.id DESC LIMIT 1) o
                )
                {GIVE};
            END $$""",  # noqa: S608  # the texts above
        ),
        DefinerFunction(
            # What the cursor has passed and nobody has sealed; with `p_everything` also what it has not passed.
            "audit_sealing_take_missed(integer, timestamptz, timestamptz, boolean)",
            f"""audit_sealing_take_missed(
                p_limit integer, p_since timestamptz, p_until timestamptz, p_everything boolean
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
            # How much waits, counted up to 100,000, and since when.
            "audit_sealing_waiting()",
            """audit_sealing_waiting() RETURNS TABLE (events bigint, since timestamptz)
            LANGUAGE sql STABLE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
                SELECT count(*), min(uuid_extract_timestamp(w.id))
                FROM (
                    SELECT e.id FROM audit_auditevent e, audit_sealing_log l
                    WHERE (e.xid, e.id) > (l.cursor_xid::text::xid8, l.cursor_id)
                    ORDER BY e.xid, e.id LIMIT 100000
                ) w
            $$""",
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
