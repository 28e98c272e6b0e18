"""The trail anew: a partition for each month of its ids, entered through one function, changed by nobody.

Nothing is deployed yet, so the rows of the table before are dropped and not copied: their bodies would hold names of
people in clear, in rows that can never be changed.
"""

from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity, Function

TABLE = """
    DROP FUNCTION audit_record(uuid, uuid, text, jsonb, jsonb, jsonb, jsonb);
    DROP TABLE audit_auditevent;
    CREATE TABLE audit_auditevent (
        organization_id uuid NOT NULL,
        id uuid NOT NULL,
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        action text NOT NULL,
        actor_id text NOT NULL,
        target_id text NOT NULL,
        body text NOT NULL,
        CONSTRAINT audit_auditevent_pkey PRIMARY KEY (organization_id, id)
    ) PARTITION BY RANGE (id);
    CREATE INDEX audit_to_seal ON audit_auditevent (xid, id);
    CREATE TABLE audit_auditevent_rest PARTITION OF audit_auditevent DEFAULT;
    -- who may delete, and in which transaction: only capsule_definer's functions write here
    CREATE TABLE audit_auditdeletion (xid xid8 PRIMARY KEY);
    REVOKE ALL ON audit_auditevent, audit_auditevent_rest, audit_auditdeletion FROM capsule_app;
    GRANT SELECT ON audit_auditevent TO capsule_app;
    ALTER TABLE audit_auditevent OWNER TO capsule_definer;
    ALTER TABLE audit_auditevent_rest OWNER TO capsule_definer;
    ALTER TABLE audit_auditdeletion OWNER TO capsule_definer;
"""
# Row triggers are cloned to every partition, with ALWAYS; a TRUNCATE trigger is not, so each partition gets its own.
TRIGGERS = """
    CREATE TRIGGER no_change BEFORE UPDATE OR DELETE ON audit_auditevent
        FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
    ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER no_change;
    CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_auditevent
        FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
    ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER no_truncate;
    CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_auditevent_rest
        FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
    ALTER TABLE audit_auditevent_rest ENABLE ALWAYS TRIGGER no_truncate;
    SELECT audit_make_partitions(now() - interval '1 month', now() + interval '3 months');
"""
# Keys are unique at every depth, so that no caller can say `id` a second time: readers take the last one.
WRITE = """
    v_at timestamptz := clock_timestamp();
    v_id uuid := uuidv7();
    v_body text := '{"id":"' || v_id || '","organization_id":"' || p_organization || '","recorded_at":"'
        || to_char(v_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '",' || substr(p_body, 2);
BEGIN
    -- check
    IF v_body IS NOT JSON OBJECT WITH UNIQUE KEYS OR strpos(v_body, chr(10)) > 0 THEN
        RAISE EXCEPTION 'the body of an event is one JSON object on one line, with keys of its own'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO audit_auditevent (organization_id, id, action, actor_id, target_id, body)
    VALUES (p_organization, v_id, p_action, p_actor_id, p_target_id, v_body);
    RETURN v_body;
END
"""
IN_SCOPE = """
    IF p_organization IS DISTINCT FROM nullif(current_setting('app.organization_id', true), '')::uuid THEN
        RAISE EXCEPTION 'an event is recorded in the scope of its organization'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
"""


def signature(name: str) -> str:
    """Of a function that writes one event."""
    return f"{name}(uuid, text, text, text, text)"


def appending(name: str, check: str) -> str:
    """The text of a function that writes one event and returns its body."""
    return f"""{name}(p_organization uuid, p_action text, p_actor_id text, p_target_id text, p_body text)
        RETURNS text LANGUAGE plpgsql VOLATILE AS $$ DECLARE {WRITE.replace("-- check", check)} $$"""


class Migration(migrations.Migration):
    """The table, its triggers, and the functions that may touch it."""

    dependencies = [("audit", "0003_nobody_deletes_the_trail")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(TABLE)],
            state_operations=[
                migrations.DeleteModel("AuditEvent"),
                migrations.CreateModel(
                    name="AuditEvent",
                    fields=[
                        ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                        ("organization_id", models.UUIDField()),
                        ("action", models.TextField()),
                        ("actor_id", models.TextField()),
                        ("target_id", models.TextField()),
                        ("body", models.TextField()),
                    ],
                    options={"abstract": False, "base_manager_name": "objects"},
                ),
                migrations.CreateModel(
                    name="AuditDeletion", fields=[("xid", models.TextField(primary_key=True, serialize=False))]
                ),
            ],
        ),
        Function(
            # the lowest UUIDv7 of a moment: its milliseconds, then zeros
            "audit_first_id(timestamptz)",
            """audit_first_id(p_moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
                SELECT rpad(lpad(to_hex(floor(extract(epoch FROM p_moment) * 1000)::bigint), 12, '0'), 32, '0')::uuid
            $$""",
        ),
        migrations.RunSQL("GRANT EXECUTE ON FUNCTION audit_first_id(timestamptz) TO capsule_definer"),
        Function(
            # It runs as whoever deletes: a row may go in a transaction in which a function of capsule_definer's own
            # has said so, and while that function is at work.
            "audit_refuse_change()",
            """audit_refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
            BEGIN
                IF TG_OP = 'DELETE' AND current_user = 'capsule_definer' THEN
                    IF EXISTS (SELECT FROM audit_auditdeletion WHERE xid = pg_current_xact_id()) THEN
                        RETURN OLD;
                    END IF;
                END IF;
                RAISE EXCEPTION 'the audit trail is append-only: % is refused', TG_OP
                    USING ERRCODE = 'insufficient_privilege';
            END $$""",
        ),
        migrations.RunSQL("GRANT EXECUTE ON FUNCTION audit_refuse_change() TO capsule_definer"),
        DefinerFunction(
            # Rows that the DEFAULT partition caught move into their month's own: they would keep it from being attached
            "audit_make_partitions(timestamptz, timestamptz)",
            """audit_make_partitions(p_from timestamptz, p_until timestamptz)
            RETURNS TABLE (made integer) LANGUAGE plpgsql VOLATILE SET lock_timeout = '5s' AS $$
            DECLARE
                v_month timestamp := date_trunc('month', p_from AT TIME ZONE 'UTC');
                v_name text;
                v_first uuid;
                v_next uuid;
            BEGIN
                made := 0;
                INSERT INTO audit_auditdeletion VALUES (pg_current_xact_id());
                WHILE v_month <= p_until AT TIME ZONE 'UTC' LOOP
                    v_name := 'audit_auditevent_' || to_char(v_month, 'YYYY_MM');
                    v_first := audit_first_id(v_month AT TIME ZONE 'UTC');
                    v_next := audit_first_id((v_month + interval '1 month') AT TIME ZONE 'UTC');
                    IF to_regclass('public.' || v_name) IS NULL THEN
                        EXECUTE format('CREATE TABLE %I (LIKE audit_auditevent INCLUDING DEFAULTS)', v_name);
                        EXECUTE format(
                            'WITH caught AS (
                                DELETE FROM audit_auditevent_rest WHERE id >= %L AND id < %L RETURNING *
                            ) INSERT INTO %I SELECT * FROM caught ORDER BY id', v_first, v_next, v_name
                        );
                        EXECUTE format(
                            'ALTER TABLE audit_auditevent ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                            v_name, v_first, v_next
                        );
                        EXECUTE format(
                            'CREATE TRIGGER no_truncate BEFORE TRUNCATE ON %I
                                FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change()', v_name
                        );
                        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER no_truncate', v_name);
                        made := made + 1;
                    END IF;
                    v_month := v_month + interval '1 month';
                END LOOP;
                DELETE FROM audit_auditdeletion WHERE xid = pg_current_xact_id();
                RETURN NEXT;
            END $$""",
        ),
        DefinerFunction(
            "audit_outside_partitions()",
            """audit_outside_partitions() RETURNS TABLE (events bigint) LANGUAGE sql STABLE AS $$
                SELECT count(*) FROM audit_auditevent_rest
            $$""",
        ),
        migrations.RunSQL(TRIGGERS),
        ForceRowSecurity("audit_auditevent"),
        DefinerFunction(signature("audit_append"), appending("audit_append", IN_SCOPE)),
        # for definer functions that write events of several organizations in one statement
        Function(signature("audit_append_anywhere"), appending("audit_append_anywhere", "")),
        migrations.RunSQL(f"""
            REVOKE EXECUTE ON FUNCTION {signature("audit_append_anywhere")} FROM capsule_app;
            GRANT EXECUTE ON FUNCTION {signature("audit_append_anywhere")} TO capsule_definer;
        """),
        DefinerFunction(
            # A day at least lies between closing an organization and losing its trail, so that whoever takes over the
            # application cannot cover their tracks at once.
            "audit_purge(uuid)",
            """audit_purge(p_organization uuid) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
            DECLARE
                deleted bigint;
            BEGIN
                IF p_organization IS DISTINCT FROM nullif(current_setting('app.organization_id', true), '')::uuid
                    OR NOT EXISTS (
                        SELECT FROM tenancy_organization o
                        WHERE o.id = p_organization AND o.closed_at < now() - interval '1 day'
                    )
                THEN
                    RAISE EXCEPTION 'a trail can be purged in its own scope, a day after its organization was closed'
                        USING ERRCODE = 'insufficient_privilege';
                END IF;
                INSERT INTO audit_auditdeletion VALUES (pg_current_xact_id());
                DELETE FROM audit_auditevent WHERE organization_id = p_organization;
                GET DIAGNOSTICS deleted = ROW_COUNT;
                DELETE FROM audit_auditdeletion WHERE xid = pg_current_xact_id();
                RETURN deleted;
            END $$""",
            is_replacement=True,
        ),
    ]
