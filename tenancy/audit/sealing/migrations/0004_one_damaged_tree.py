"""A tree that is damaged is set aside: its events get no places, and everybody else's are sealed."""

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


# As in 0003, but that leaves are stored of whole trees alone; a damaged one is given out without its frontier. Asked
# once for each organization, not for each event.
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
SETTINGS = "LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off"
LOCK = "pg_try_advisory_xact_lock(hashtext('audit_sealing'))"
HASH = "sha256('\\x00'::bytea || convert_to(e.body, 'UTF8'))"


class Migration(migrations.Migration):
    """What takes events, anew, and a question."""

    dependencies = [("audit_sealing", "0003_never_twice")]

    operations = [
        DefinerFunction(
            # The cursor passes what is set aside: audit_sealing_take_missed finds it once the tree is mended.
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
            is_replacement=True,
        ),
        DefinerFunction(
            # As in 0002, but for the organizations that earlier batches found damaged: a batch full of their events
            # would be the same for ever. The one without `p_aside` stays for the code of before.
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
    ]
