"""Row security on usage, and the functions that record, ship and roll it up."""

from django.db import migrations

from tenancy.rls import DefinerFunction, ForceRowSecurity, Function


class Migration(migrations.Migration):
    """The wall and the counting."""

    dependencies = [("metering", "0001_usage_events"), ("tenancy", "0002_the_tenant_wall")]

    operations = [
        ForceRowSecurity("metering_usageevent"),
        ForceRowSecurity("metering_usagehour"),
        Function(
            "metering_record(uuid, uuid, uuid, uuid, text, bigint, text)",
            """metering_record(
                p_organization uuid, p_id uuid, p_project uuid, p_key uuid, p_meter text, p_quantity bigint,
                p_end_user text
            ) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                INSERT INTO metering_usageevent
                    (organization_id, id, project_id, key_id, meter, quantity, end_user, occurred_at, is_rolled_up)
                VALUES (p_organization, p_id, p_project, p_key, p_meter, p_quantity, p_end_user, now(), false)
                ON CONFLICT (id) DO NOTHING;
                RETURN p_id;
            END $$""",
        ),
        DefinerFunction(
            # Events of a spool segment, and how far it is read, in one transaction: a shipper killed anywhere repeats
            # the same bytes, and the offset or the event's id makes the second time count for nothing.
            "metering_ship(text, bigint, bigint, jsonb)",
            """metering_ship(p_segment text, p_from bigint, p_to bigint, p_events jsonb)
            RETURNS TABLE (is_shipped boolean) LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                INSERT INTO metering_spoolposition (segment, "offset") VALUES (p_segment, 0) ON CONFLICT DO NOTHING;
                UPDATE metering_spoolposition SET "offset" = p_to WHERE segment = p_segment AND "offset" = p_from;
                IF NOT FOUND THEN
                    RETURN QUERY SELECT false;
                    RETURN;
                END IF;
                INSERT INTO metering_usageevent
                    (organization_id, id, project_id, key_id, meter, quantity, end_user, occurred_at, is_rolled_up)
                SELECT e.organization_id, e.id, e.project_id, e.key_id, e.meter, e.quantity, e.end_user,
                    to_timestamp(e.at), false
                FROM jsonb_to_recordset(p_events) AS e(
                    organization_id uuid, id uuid, project_id uuid, key_id uuid, meter text, quantity bigint,
                    end_user text, at double precision
                )
                ON CONFLICT (id) DO NOTHING;
                RETURN QUERY SELECT true;
            END $$""",
        ),
        DefinerFunction(
            "metering_positions()",
            """metering_positions() RETURNS TABLE (segment text, "offset" bigint) LANGUAGE sql STABLE AS $$
                SELECT s.segment::text, s."offset" FROM metering_spoolposition s
            $$""",
        ),
        DefinerFunction(
            # Marks and adds in one transaction; SKIP LOCKED lets several run at once, ORDER BY keeps them from
            # deadlock.
            "metering_roll_up(integer)",
            """metering_roll_up(p_limit integer) RETURNS TABLE (rolled_up bigint) LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                RETURN QUERY
                WITH taken AS (
                    SELECT id FROM metering_usageevent WHERE NOT is_rolled_up ORDER BY id LIMIT p_limit
                    FOR UPDATE SKIP LOCKED
                ), marked AS (
                    UPDATE metering_usageevent e SET is_rolled_up = true FROM taken WHERE e.id = taken.id
                    RETURNING e.organization_id, e.project_id, e.key_id, e.meter, e.quantity,
                        date_trunc('hour', e.occurred_at, 'UTC') AS hour
                ), added AS (
                    INSERT INTO metering_usagehour AS h
                        (id, organization_id, project_id, key_id, meter, hour, quantity, events)
                    SELECT gen_random_uuid(), organization_id, project_id, key_id, meter, hour, sum(quantity), count(*)
                    FROM marked GROUP BY organization_id, project_id, key_id, meter, hour
                    ORDER BY organization_id, hour, project_id, meter, key_id
                    ON CONFLICT (organization_id, hour, project_id, meter, key_id)
                    DO UPDATE SET quantity = h.quantity + excluded.quantity, events = h.events + excluded.events
                    RETURNING 1
                )
                SELECT (SELECT count(*) FROM marked) + 0 * (SELECT count(*) FROM added);
            END $$""",
        ),
    ]
