"""Taking streams on that have something to send, and ending their logs, of all organizations."""

from django.db import migrations

from tenancy.rls import DefinerFunction

# The one that was served longest ago first. Of those that failed the last time so many at once, and of one organization
# so many: neither a thousand dead targets nor one organization's backlog holds up the others. Whoever is killed loses
# the lease.
CLAIM = """audit_streams_claim(
    p_slots integer, p_failing integer, p_of_one integer, p_lease interval, p_store_lease interval
)
RETURNS TABLE (stream_id uuid, organization_id uuid, turn uuid) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH busy AS (
        SELECT s.organization_id, count(*) AS n, count(*) FILTER (WHERE s.failures > 0) AS failing
        FROM audit_streams_stream s WHERE s.state = 'active' AND s.leased_until > v_now GROUP BY 1
    ), due AS (
        SELECT s.id, s.failures > 0 AS is_failing,
            row_number() OVER (PARTITION BY s.failures > 0 ORDER BY s.due_at, s.id) AS place,
            row_number() OVER (PARTITION BY s.organization_id ORDER BY s.due_at, s.id)
                + coalesce((SELECT b.n FROM busy b WHERE b.organization_id = s.organization_id), 0) AS of_one
        FROM audit_streams_stream s
        JOIN audit_sealing_treehead h ON h.organization_id = s.organization_id AND h.size > s.next_seq
        JOIN tenancy_organization o ON o.id = s.organization_id AND o.closed_at IS NULL
        WHERE s.state = 'active' AND s.due_at <= v_now AND (s.leased_until IS NULL OR s.leased_until <= v_now)
    ), chosen AS (
        SELECT s.id FROM audit_streams_stream s JOIN due d ON d.id = s.id
        WHERE s.state = 'active' AND (s.leased_until IS NULL OR s.leased_until <= v_now) AND d.of_one <= p_of_one
            AND (NOT d.is_failing OR d.place <= p_failing - coalesce((SELECT sum(b.failing) FROM busy b), 0))
        ORDER BY s.due_at, s.id LIMIT p_slots FOR NO KEY UPDATE OF s SKIP LOCKED
    )
    UPDATE audit_streams_stream s SET turn = uuidv7(),
        leased_until = v_now + CASE WHEN s.kind IN ('s3', 'gcs', 'azure') THEN p_store_lease ELSE p_lease END
    FROM chosen c WHERE c.id = s.id
    RETURNING s.id, s.organization_id, s.turn;
END $$"""
# Of a stream that is sent something each second, the newest rows of the log are enough
TIDY = """audit_streams_tidy(p_kept interval, p_aside_kept interval, p_most integer)
RETURNS TABLE (deleted bigint) LANGUAGE plpgsql VOLATILE AS $$
DECLARE v_some bigint; v_deleted bigint;
BEGIN
    DELETE FROM audit_streams_delivery d USING (
        SELECT q.id, row_number() OVER (PARTITION BY q.stream_id ORDER BY q.id DESC) AS place
        FROM audit_streams_delivery q
    ) q WHERE q.id = d.id AND (q.place > p_most OR d.started_at < clock_timestamp() - p_kept);
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    DELETE FROM audit_streams_deadletter a WHERE a.created_at < clock_timestamp() - p_aside_kept;
    GET DIAGNOSTICS v_some = ROW_COUNT;
    RETURN QUERY SELECT v_deleted + v_some;
END $$"""


class Migration(migrations.Migration):
    """The functions."""

    dependencies = [
        ("audit_streams", "0001_streams_and_their_logs"),
        ("audit_sealing", "0002_the_sealer_s_way_across"),
    ]

    operations = [
        DefinerFunction("audit_streams_claim(integer, integer, integer, interval, interval)", CLAIM),
        DefinerFunction("audit_streams_tidy(interval, interval, integer)", TIDY),
    ]
