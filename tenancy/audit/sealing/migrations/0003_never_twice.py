"""The sealer looks whether an event has its leaf already, so that a cursor that is set back seals nothing twice."""

from django.db import migrations

from tenancy.rls import DefinerFunction

# As in 0002: the events that are taken get places, and the trees what they need in order to grow.
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
    """One function anew."""

    dependencies = [("audit_sealing", "0002_the_sealer_s_way_across")]

    operations = [
        DefinerFunction(
            # As a subquery of its own it is asked for each event: a join might sort, and LIMIT stop nothing. The index
            # that it reads is the one that the leaf is about to enter.
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
            # Of a restored dump, events of high transaction numbers are ahead of the cursor for long, and sealed.
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
            is_replacement=True,
        ),
    ]
