"""Adds events to the hours without touching them: shipped ones as they come, written ones by their transaction."""

from django.db import migrations, models

from tenancy.rls import DefinerFunction, Function

POSITION = """
    -- what was carried over without being in the sums is the first to be added; the wall is lifted to look for it
    ALTER TABLE metering_usageevent NO FORCE ROW LEVEL SECURITY;
    INSERT INTO metering_rollupposition (id, position)
    SELECT 1, least(pg_snapshot_xmin(pg_current_snapshot())::text::bigint, min(written_by))
    FROM metering_usageevent WHERE written_by > 0;
    ALTER TABLE metering_usageevent FORCE ROW LEVEL SECURITY;
    REVOKE ALL ON metering_rollupposition FROM capsule_app;
    DROP FUNCTION metering_roll_up(integer);
    DROP FUNCTION metering_ship(text, bigint, bigint, jsonb);
"""
ADD = """
                INSERT INTO metering_usagehour AS h
                    (id, organization_id, project_id, key_id, meter, hour, quantity, events)
                SELECT gen_random_uuid(), organization_id, project_id, key_id, meter, hour, quantity, events
                FROM sums ORDER BY organization_id, hour, project_id, meter, key_id
                ON CONFLICT (organization_id, hour, project_id, meter, key_id)
                DO UPDATE SET quantity = h.quantity + excluded.quantity, events = h.events + excluded.events
"""


class Migration(migrations.Migration):
    """One transaction for each way into the sums."""

    dependencies = [("metering", "0004_events_by_month")]

    operations = [
        migrations.CreateModel(
            name="RollUpPosition",
            fields=[
                ("id", models.SmallAutoField(primary_key=True, serialize=False)),
                ("position", models.BigIntegerField()),
            ],
        ),
        migrations.RunSQL(POSITION),
        Function(
            # Naming the one key that can conflict would cost half as much again: it is looked up in the partition anew.
            "metering_record(uuid, uuid, uuid, uuid, text, bigint, text)",
            """metering_record(
                p_organization uuid, p_id uuid, p_project uuid, p_key uuid, p_meter text, p_quantity bigint,
                p_end_user text
            ) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                INSERT INTO metering_usageevent
                    (organization_id, id, project_id, key_id, meter, quantity, end_user, occurred_at)
                VALUES (p_organization, p_id, p_project, p_key, p_meter, p_quantity, p_end_user, now())
                ON CONFLICT DO NOTHING;
                RETURN p_id;
            END $$""",
            is_replacement=True,
        ),
        DefinerFunction(
            # Where a shipper's COPY goes: it may put rows there and see none, its own neither.
            "metering_stage()",
            """metering_stage() RETURNS TABLE (is_ready boolean) LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                IF to_regclass('pg_temp.metering_staged') IS NULL THEN
                    CREATE TEMPORARY TABLE metering_staged (
                        id uuid, organization_id uuid, project_id uuid, key_id uuid, meter text, quantity bigint,
                        end_user text, at double precision
                    ) ON COMMIT DELETE ROWS;
                    GRANT INSERT ON metering_staged TO capsule_app;
                END IF;
                RETURN QUERY SELECT true;
            END $$""",
        ),
        DefinerFunction(
            # Staged events, their hours, and how far the segment is read, in one transaction: a shipper killed anywhere
            # repeats the same bytes, and the offset or the event's id makes the second time count for nothing. A
            # negative `written_by` says that the transaction itself added the event. The order keeps shippers from
            # deadlock.
            "metering_ship(text, bigint, bigint)",
            f"""metering_ship(p_segment text, p_from bigint, p_to bigint)
            RETURNS TABLE (is_shipped boolean, stored bigint) LANGUAGE plpgsql VOLATILE AS $$
            DECLARE
                v_transaction bigint := pg_current_xact_id()::text::bigint;
            BEGIN
                INSERT INTO metering_spoolposition (segment, "offset") VALUES (p_segment, 0) ON CONFLICT DO NOTHING;
                UPDATE metering_spoolposition SET "offset" = p_to WHERE segment = p_segment AND "offset" = p_from;
                is_shipped := FOUND;
                stored := 0;
                IF is_shipped THEN
                    WITH fresh AS (
                        INSERT INTO metering_usageevent AS e
                            (organization_id, id, project_id, key_id, meter, quantity, end_user, occurred_at,
                            written_by)
                        SELECT organization_id, id, project_id, key_id, meter, quantity, end_user, to_timestamp(at),
                            -v_transaction
                        FROM pg_temp.metering_staged ORDER BY id
                        ON CONFLICT DO NOTHING
                        RETURNING e.organization_id, e.project_id, e.key_id, e.meter, e.quantity,
                            date_trunc('hour', e.occurred_at, 'UTC') AS hour
                    ), sums AS (
                        SELECT organization_id, project_id, key_id, meter, hour, sum(quantity) AS quantity,
                            count(*) AS events
                        FROM fresh GROUP BY organization_id, project_id, key_id, meter, hour
                    ), added AS ({ADD})
                    SELECT coalesce(sum(events), 0) INTO stored FROM sums;
                END IF;
                RETURN NEXT;
            END $$""",  # noqa: S608  # the text above
        ),
        DefinerFunction(
            # Adds what was written by transactions from the position to the oldest one still open: all of those have
            # ended, so what they wrote is seen now, and none can write more. No row is marked, no index written.
            # With enable_seqscan the planner may doubt the BRIN index, which finds the newest pages, and read months.
            "metering_roll_up(bigint)",
            f"""metering_roll_up(p_transactions bigint) RETURNS TABLE (added bigint, is_done boolean)
            LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
            DECLARE
                v_from bigint;
                v_until bigint;
                v_open bigint := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
            BEGIN
                added := 0;
                is_done := true;
                IF pg_try_advisory_xact_lock(hashtext('metering_roll_up')) THEN
                    SELECT position INTO STRICT v_from FROM metering_rollupposition;
                    IF v_from > pg_snapshot_xmax(pg_current_snapshot())::text::bigint THEN
                        RAISE EXCEPTION 'the sums stand at transaction %, which this server has not reached: it was '
                            'restored from a dump; see docs/decisions/metering.md', v_from;
                    END IF;
                    v_until := least(v_open, v_from + p_transactions);
                    is_done := v_until >= v_open;
                    WITH sums AS (
                        SELECT organization_id, project_id, key_id, meter,
                            date_trunc('hour', occurred_at, 'UTC') AS hour, sum(quantity) AS quantity,
                            count(*) AS events
                        FROM metering_usageevent WHERE written_by >= v_from AND written_by < v_until
                        GROUP BY organization_id, project_id, key_id, meter, 5
                    ), done AS ({ADD})
                    SELECT coalesce(sum(events), 0) INTO added FROM sums;
                    -- moving is a transaction too: an idle server would move for ever
                    IF added > 0 OR NOT is_done OR v_until > v_from + 1000 THEN
                        UPDATE metering_rollupposition SET position = v_until;
                    END IF;
                END IF;
                RETURN NEXT;
            END $$""",  # noqa: S608  # the text above
        ),
        DefinerFunction(
            # Events of the organization in scope that are in no sum yet. Its id is compared as text so that no index of
            # organizations serves it: that would read all that the organization ever used. Starting workers would take
            # twenty times as long as the few pages do.
            "metering_pending()",
            """metering_pending() RETURNS TABLE (
                project_id uuid, key_id uuid, meter text, hour timestamptz, quantity bigint
            ) LANGUAGE sql STABLE SET enable_seqscan = off SET max_parallel_workers_per_gather = 0 AS $$
                SELECT e.project_id, e.key_id, e.meter::text, date_trunc('hour', e.occurred_at, 'UTC'), e.quantity
                FROM metering_usageevent e
                WHERE e.written_by >= (SELECT p.position FROM metering_rollupposition p)
                    AND e.organization_id::text = current_setting('app.organization_id', true)
            $$""",
        ),
    ]
