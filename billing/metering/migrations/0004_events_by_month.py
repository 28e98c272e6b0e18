"""Usage events in a partition for each month of their ids; what is there already moves over.

A table cannot become a partitioned one while somebody writes to it: stop the web and the workers of the version before.
"""

import django.contrib.postgres.indexes
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity, Function

MONTHLY_TABLE = """
    ALTER TABLE metering_usageevent RENAME TO metering_usageevent_before;
    ALTER TABLE metering_usageevent_before RENAME CONSTRAINT metering_usageevent_pkey TO usageevent_before_pkey;
    DROP INDEX usage_to_roll_up, usage_newest;
    CREATE TABLE metering_usageevent (
        id uuid NOT NULL,
        organization_id uuid NOT NULL,
        project_id uuid NOT NULL,
        key_id uuid,
        quantity bigint NOT NULL,
        occurred_at timestamptz NOT NULL,
        written_by bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
        meter varchar(32) NOT NULL,
        end_user varchar(255) NOT NULL,
        CONSTRAINT metering_usageevent_pkey PRIMARY KEY (id)
    ) PARTITION BY RANGE (id);
    CREATE INDEX usage_newest ON metering_usageevent (organization_id, id DESC);
    CREATE INDEX usage_by_transaction ON metering_usageevent USING brin (written_by)
        WITH (pages_per_range = 32, autosummarize = on);
    CREATE TABLE metering_usageevent_rest PARTITION OF metering_usageevent DEFAULT;
    REVOKE ALL ON metering_usageevent_rest FROM capsule_app, capsule_definer;
    REVOKE UPDATE, DELETE ON metering_usageevent FROM capsule_app;
    -- whoever makes partitions must own their parent; nobody can log in as this role
    ALTER TABLE metering_usageevent OWNER TO capsule_definer;
    ALTER TABLE metering_usageevent_rest OWNER TO capsule_definer;
    ALTER TABLE metering_usagehour SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
"""
# The table's owner is bound by its row security too, so it is lifted from the old one before it is read.
CARRY_OVER = """
    ALTER TABLE metering_usageevent_before NO FORCE ROW LEVEL SECURITY;
    SELECT metering_make_partitions(
        least(greatest(coalesce(min(occurred_at), now()), now() - interval '5 years'), now() - interval '35 days'),
        now() + interval '3 months'
    ) FROM metering_usageevent_before;
    INSERT INTO metering_usageevent
        (id, organization_id, project_id, key_id, quantity, occurred_at, written_by, meter, end_user)
    SELECT id, organization_id, project_id, key_id, quantity, occurred_at,
        CASE WHEN is_rolled_up THEN 0 ELSE pg_current_xact_id()::text::bigint END, meter, end_user
    FROM metering_usageevent_before ORDER BY id;
    DROP TABLE metering_usageevent_before;
"""


class Migration(migrations.Migration):
    """Partitions, made by a function; nobody changes an event."""

    dependencies = [("metering", "0003_damage_is_set_aside")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(MONTHLY_TABLE)],
            state_operations=[
                migrations.RemoveIndex("usageevent", "usage_to_roll_up"),
                migrations.RemoveField("usageevent", "is_rolled_up"),
                migrations.AddField(
                    "usageevent",
                    "written_by",
                    models.BigIntegerField(
                        db_default=models.Func(
                            output_field=models.BigIntegerField(), template="pg_current_xact_id()::text::bigint"
                        )
                    ),
                ),
                migrations.AddIndex(
                    "usageevent",
                    django.contrib.postgres.indexes.BrinIndex(
                        fields=["written_by"], name="usage_by_transaction", autosummarize=True, pages_per_range=32
                    ),
                ),
            ],
        ),
        Function(
            # the lowest UUIDv7 of a moment: its milliseconds, then zeros
            "metering_first_id(timestamptz)",
            """metering_first_id(p_moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
                SELECT rpad(lpad(to_hex(floor(extract(epoch FROM p_moment) * 1000)::bigint), 12, '0'), 32, '0')::uuid
            $$""",
        ),
        migrations.RunSQL("GRANT EXECUTE ON FUNCTION metering_first_id(timestamptz) TO capsule_definer"),
        DefinerFunction(
            # Rows that the DEFAULT partition caught move into their month's own: they would keep it from being attached
            "metering_make_partitions(timestamptz, timestamptz)",
            """metering_make_partitions(p_from timestamptz, p_until timestamptz)
            RETURNS TABLE (made integer) LANGUAGE plpgsql VOLATILE SET lock_timeout = '5s' AS $$
            DECLARE
                v_month timestamp := date_trunc('month', p_from AT TIME ZONE 'UTC');
                v_name text;
                v_first uuid;
                v_next uuid;
            BEGIN
                made := 0;
                WHILE v_month <= p_until AT TIME ZONE 'UTC' LOOP
                    v_name := 'metering_usageevent_' || to_char(v_month, 'YYYY_MM');
                    v_first := metering_first_id(v_month AT TIME ZONE 'UTC');
                    v_next := metering_first_id((v_month + interval '1 month') AT TIME ZONE 'UTC');
                    IF to_regclass('public.' || v_name) IS NULL THEN
                        EXECUTE format('CREATE TABLE %I (LIKE metering_usageevent INCLUDING DEFAULTS)', v_name);
                        EXECUTE format(
                            'WITH caught AS (
                                DELETE FROM metering_usageevent_rest WHERE id >= %L AND id < %L RETURNING *
                            ) INSERT INTO %I SELECT * FROM caught ORDER BY id', v_first, v_next, v_name
                        );
                        EXECUTE format(
                            'ALTER TABLE metering_usageevent ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                            v_name, v_first, v_next
                        );
                        made := made + 1;
                    END IF;
                    v_month := v_month + interval '1 month';
                END LOOP;
                RETURN NEXT;
            END $$""",
        ),
        DefinerFunction(
            "metering_outside_partitions()",
            """metering_outside_partitions() RETURNS TABLE (events bigint) LANGUAGE sql STABLE AS $$
                SELECT count(*) FROM metering_usageevent_rest
            $$""",
        ),
        migrations.RunSQL(CARRY_OVER),
        ForceRowSecurity("metering_usageevent"),
        DefinerFunction(
            # The application may only append. A closed organization's events go with it, a day after its closing.
            "metering_purge_events(uuid)",
            """metering_purge_events(p_organization uuid) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
            DECLARE
                deleted bigint;
            BEGIN
                IF p_organization IS DISTINCT FROM nullif(current_setting('app.organization_id', true), '')::uuid
                    OR NOT EXISTS (
                        SELECT FROM tenancy_organization o
                        WHERE o.id = p_organization AND o.closed_at < now() - interval '1 day'
                    )
                THEN
                    RAISE EXCEPTION 'usage can be purged in its own scope, a day after its organization was closed'
                        USING ERRCODE = 'insufficient_privilege';
                END IF;
                DELETE FROM metering_usageevent WHERE organization_id = p_organization;
                GET DIAGNOSTICS deleted = ROW_COUNT;
                RETURN deleted;
            END $$""",
        ),
    ]
