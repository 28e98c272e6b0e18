"""Taking exports on, finding schedules that are due and files that have expired, of all organizations."""

from django.db import migrations

from tenancy.rls import DefinerFunction

# An organization's exports are written one after the other, the one that is due longest first: a thousand of one cost
# the others a turn each. Who loses the lease, or is killed, is followed by another.
CLAIM = """audit_exports_claim(p_lease interval)
RETURNS TABLE (export_id uuid, organization_id uuid, turn uuid, attempts integer, is_sending boolean)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH due AS (
        SELECT e.id FROM audit_exports_export e
        WHERE e.state IN ('queued', 'running', 'sending') AND e.due_at <= clock_timestamp()
            AND (e.leased_until IS NULL OR e.leased_until <= clock_timestamp())
            AND NOT EXISTS (
                SELECT FROM audit_exports_export o
                WHERE o.organization_id = e.organization_id AND o.state IN ('queued', 'running', 'sending')
                    AND o.leased_until > clock_timestamp()
            )
        ORDER BY e.due_at, e.id LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    UPDATE audit_exports_export e
    SET turn = uuidv7(), leased_until = clock_timestamp() + p_lease, attempts = e.attempts + 1,
        started_at = coalesce(e.started_at, clock_timestamp()),
        state = CASE e.state WHEN 'queued' THEN 'running' ELSE e.state END
    FROM due WHERE e.id = due.id
    RETURNING e.id, e.organization_id, e.turn, e.attempts, e.state = 'sending';
END $$"""
# A range is over when its last moment is, and what ended in it has had the time to be sealed
DUE = """audit_exports_due(p_now timestamptz, p_margin interval)
RETURNS TABLE (schedule_id uuid, organization_id uuid) LANGUAGE sql STABLE AS $$
    SELECT s.id, s.organization_id FROM audit_exports_schedule s
    WHERE NOT s.is_paused AND (s.range_start AT TIME ZONE 'UTC' + ('1 ' || s.every)::interval) AT TIME ZONE 'UTC'
        + p_margin <= p_now
    ORDER BY s.range_start
$$"""
EXPIRED = """audit_exports_expired(p_now timestamptz, p_most integer)
RETURNS TABLE (export_id uuid, organization_id uuid) LANGUAGE sql STABLE AS $$
    SELECT e.id, e.organization_id FROM audit_exports_export e
    WHERE e.state IN ('sending', 'ready') AND e.expires_at <= p_now ORDER BY e.expires_at LIMIT p_most
$$"""


class Migration(migrations.Migration):
    """The functions."""

    dependencies = [("audit_exports", "0001_exports_and_where_they_go")]

    operations = [
        DefinerFunction("audit_exports_claim(interval)", CLAIM),
        DefinerFunction("audit_exports_due(timestamptz, interval)", DUE),
        DefinerFunction("audit_exports_expired(timestamptz, integer)", EXPIRED),
    ]
