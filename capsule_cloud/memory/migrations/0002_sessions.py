"""Creates sessions, turns and skill triggers, and the functions that take a turn and find what is due."""

import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity, Function

# Opens a session unless its id is taken, and says whether it did. Another organization's project is invisible here (row
# security), so it gets no session.
OPEN_SESSION = """memory_open_session(
    p_organization uuid, p_project uuid, p_external_id text, p_user_id text, p_agent_id text, p_origin_platform text
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM tenancy_project p WHERE p.id = p_project) THEN
        RAISE 'no such project' USING ERRCODE = 'CMS04';
    END IF;
    INSERT INTO memory_session (id, organization_id, project_id, external_id, user_id, agent_id, origin_platform,
                                started_at, turn_count, pending_trigger_count, look_at, capsule_id, extraction)
    VALUES (uuidv7(), p_organization, p_project, p_external_id, p_user_id, p_agent_id, p_origin_platform,
            now(), 0, 0, now() + interval '1 day', '', '')
    ON CONFLICT (project_id, external_id) DO NOTHING;
    RETURN FOUND;
END $$"""

# Takes one question and its answer. The UPDATE is the lock: it settles owner, state and numbers for everybody who waits
# behind it. Refusals are raised, not returned, so that nothing else in the statement happens either.
# `num_nonnulls` keeps the partial index of open sessions out: a plan made among few of them would read all of it.
INGEST = """memory_ingest(
    p_organization uuid, p_project uuid, p_external_id text, p_user_id text, p_max_turns integer,
    p_question text, p_answer text, p_trigger jsonb
) RETURNS TABLE (user_id text, question_number integer, turn_count integer, pending_triggers integer)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_found memory_session;
    v_session uuid;
BEGIN
    LOOP
        UPDATE memory_session s
           SET turn_count = s.turn_count + 2,
               last_turn_at = now(),
               look_at = CASE WHEN s.turn_count = 0 THEN now() + interval '1 minute' ELSE s.look_at END
         WHERE s.project_id = p_project AND s.external_id = p_external_id AND num_nonnulls(s.sealed_at) = 0
           AND (p_user_id IS NULL OR s.user_id = p_user_id) AND s.turn_count + 2 <= p_max_turns
     RETURNING s.id, s.user_id, s.turn_count, s.pending_trigger_count
          INTO v_session, user_id, turn_count, pending_triggers;
        EXIT WHEN FOUND;

        SELECT * INTO v_found
          FROM memory_session s WHERE s.project_id = p_project AND s.external_id = p_external_id;
        IF NOT FOUND THEN
            PERFORM memory_open_session(
                p_organization, p_project, p_external_id, coalesce(p_user_id, 'default'), '', 'unknown');
        ELSIF v_found.user_id <> p_user_id THEN
            RAISE 'session belongs to another user' USING ERRCODE = 'CMS01';
        ELSIF v_found.sealed_at IS NOT NULL THEN
            RAISE 'session is sealed' USING ERRCODE = 'CMS02';
        ELSIF v_found.turn_count + 2 > p_max_turns THEN
            RAISE 'session is full' USING ERRCODE = 'CMS03';
        END IF;  -- else somebody opened it just now: try again
    END LOOP;

    question_number := turn_count - 1;
    INSERT INTO memory_turn (session_id, number, organization_id, role, content, said_at)
    VALUES (v_session, question_number, p_organization, 'user', p_question, now()),
           (v_session, turn_count, p_organization, 'assistant', p_answer, now());

    IF p_trigger IS NOT NULL AND NOT EXISTS (
        SELECT FROM memory_skilltrigger t
         WHERE t.session_id = v_session AND t.rule = p_trigger->>'rule' AND t.resolution = 'never'
    ) THEN
        INSERT INTO memory_skilltrigger (id, organization_id, session_id, rule, suggested_name, confidence, preview,
                                         turn_number, created_at, resolution)
        VALUES ((p_trigger->>'id')::uuid, p_organization, v_session, p_trigger->>'rule',
                replace(p_trigger->>'suggested_name', '(Turn 0)', format('(Turn %s)', turn_count)),
                (p_trigger->>'confidence')::float8, p_trigger->>'preview', turn_count, now(), '');
        UPDATE memory_session s SET pending_trigger_count = s.pending_trigger_count + 1
         WHERE s.id = v_session RETURNING s.pending_trigger_count INTO pending_triggers;
    END IF;
    RETURN NEXT;
END $$"""

# Several pairs: all of them or none. Returns the first question's number and the session after the last.
INGEST_BATCH = """memory_ingest_batch(
    p_organization uuid, p_project uuid, p_external_id text, p_user_id text, p_max_turns integer, p_pairs jsonb
) RETURNS TABLE (user_id text, question_number integer, turn_count integer, pending_triggers integer)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_pair jsonb;
    v_first integer;
BEGIN
    FOR v_pair IN SELECT value FROM jsonb_array_elements(p_pairs) LOOP
        SELECT i.* INTO user_id, question_number, turn_count, pending_triggers
          FROM memory_ingest(p_organization, p_project, p_external_id, p_user_id, p_max_turns,
                             v_pair->>'question', v_pair->>'answer', nullif(v_pair->'trigger', 'null')) i;
        v_first := coalesce(v_first, question_number);
    END LOOP;
    question_number := v_first;
    RETURN NEXT;
END $$"""

# The newest answers of a session, oldest first: what a new one is compared with. Not in SQL, which would be inlined and
# planned before the organization is set (see memory_get).
RECENT_ANSWERS = """memory_recent_answers(
    p_organization uuid, p_project uuid, p_external_id text, p_limit integer
) RETURNS TABLE (content text) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT newest.content FROM (
        SELECT t.number, t.content
          FROM memory_turn t
         WHERE t.session_id = (
                   SELECT s.id FROM memory_session s
                    WHERE s.organization_id = p_organization AND s.project_id = p_project
                      AND s.external_id = p_external_id)
           AND t.role = 'assistant'
         ORDER BY t.number DESC
         LIMIT p_limit
    ) newest ORDER BY newest.number;
END $$"""

# Leases at most p_limit sessions that are due for a look: those still busy until the moment they would be idle, the
# others for ten minutes, so that a killed sweep loses nothing and a session that cannot be sealed holds nobody up.
SESSIONS_DUE = """memory_sessions_due(p_limit integer)
RETURNS TABLE (organization_id uuid, session_id uuid, is_idle boolean) LANGUAGE sql VOLATILE AS $$
    WITH due AS (
        SELECT s.id,
               CASE WHEN s.turn_count = 0 THEN s.started_at + interval '1 day'
                    ELSE s.last_turn_at + make_interval(mins => p.idle_seal_minutes) END AS idle_at
          FROM memory_session s JOIN tenancy_project p ON p.id = s.project_id
         WHERE s.sealed_at IS NULL AND s.look_at <= now()
         ORDER BY s.look_at
         LIMIT p_limit
           FOR UPDATE OF s SKIP LOCKED
    )
    UPDATE memory_session s
       SET look_at = CASE WHEN due.idle_at <= now() THEN now() + interval '10 minutes' ELSE due.idle_at END
      FROM due
     WHERE s.id = due.id
 RETURNING s.organization_id, s.id, due.idle_at <= now()
$$"""

# At most p_limit sealed sessions whose raw turns are older than their project keeps them. Asked project by project, so
# a project that keeps them long hides nobody else's, and a changed retention holds at once.
TURNS_DUE = """memory_turns_due(p_limit integer)
RETURNS TABLE (organization_id uuid, project_id uuid, session_id uuid) LANGUAGE sql STABLE AS $$
    SELECT p.organization_id, p.id, due.id
      FROM tenancy_project p
     CROSS JOIN LATERAL (
        SELECT s.id FROM memory_session s
         WHERE s.project_id = p.id AND s.turns_purged_at IS NULL
           AND s.sealed_at <= now() - make_interval(days => p.turn_retention_days)
         ORDER BY s.sealed_at
         LIMIT p_limit
     ) due
     LIMIT p_limit
$$"""


class Migration(migrations.Migration):
    """The conversations."""

    dependencies = [("memory", "0001_capsules"), ("tenancy", "0002_the_tenant_wall")]

    operations = [
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("external_id", models.CharField(max_length=255)),
                ("user_id", models.CharField(max_length=255)),
                ("agent_id", models.CharField(blank=True, max_length=255)),
                ("origin_platform", models.CharField(default="unknown", max_length=255)),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("last_turn_at", models.DateTimeField(blank=True, null=True)),
                ("turn_count", models.PositiveIntegerField(default=0)),
                ("pending_trigger_count", models.PositiveIntegerField(default=0)),
                ("look_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("sealed_at", models.DateTimeField(blank=True, null=True)),
                ("capsule_id", models.CharField(blank=True, max_length=255)),
                (
                    "extraction",
                    models.CharField(
                        blank=True,
                        choices=[("host_llm", "The caller's language model"), ("rule_based", "The engine's rules")],
                        max_length=16,
                    ),
                ),
                ("turns_purged_at", models.DateTimeField(blank=True, null=True)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenancy.project",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [
                    models.Index(fields=["project", "-id"], name="session_newest"),
                    models.Index(fields=["project", "user_id", "-id"], name="session_by_user"),
                    models.Index(fields=["project", "capsule_id"], name="session_by_capsule"),
                    models.Index(
                        condition=models.Q(("sealed_at", None)), fields=["look_at"], name="session_to_look_at"
                    ),
                    models.Index(
                        condition=models.Q(("sealed_at__isnull", False), ("turns_purged_at", None)),
                        fields=["project", "sealed_at"],
                        name="session_with_turns",
                    ),
                    models.Index(
                        condition=models.Q(("pending_trigger_count__gt", 0), ("sealed_at", None)),
                        fields=["project"],
                        name="session_with_triggers",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("project", "external_id"), name="session_id_once"),
                ],
            },
        ),
        migrations.CreateModel(
            name="SkillTrigger",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("rule", models.CharField(max_length=32)),
                ("suggested_name", models.CharField(max_length=255)),
                ("confidence", models.FloatField()),
                ("preview", models.TextField()),
                ("turn_number", models.PositiveIntegerField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "resolution",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("extract_skill", "Extract a skill"),
                            ("merge_memory", "Merge into the memory"),
                            ("extract_hybrid", "Extract a skill and keep the memory"),
                            ("ignore", "Ignore"),
                            ("never", "Never notice this kind again in this session"),
                        ],
                        max_length=16,
                    ),
                ),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                ("skill", models.JSONField(blank=True, null=True)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "session",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="triggers", to="memory.session"
                    ),
                ),
            ],
            options={"abstract": False, "base_manager_name": "objects"},
        ),
        migrations.CreateModel(
            name="Turn",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "session_id", "number", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                (
                    "role",
                    models.CharField(choices=[("user", "User"), ("assistant", "Assistant")], max_length=16),
                ),
                ("content", models.TextField()),
                ("said_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "organization",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenancy.organization",
                    ),
                ),
                (
                    "session",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="turns",
                        to="memory.session",
                    ),
                ),
            ],
            options={"abstract": False, "base_manager_name": "objects"},
        ),
        ForceRowSecurity("memory_session"),
        ForceRowSecurity("memory_skilltrigger"),
        ForceRowSecurity("memory_turn"),
        # room on each page for the next version of its rows
        migrations.RunSQL(
            "ALTER TABLE memory_session SET (fillfactor = 85)", "ALTER TABLE memory_session RESET (fillfactor)"
        ),
        Function("memory_open_session(uuid, uuid, text, text, text, text)", OPEN_SESSION),
        Function("memory_ingest(uuid, uuid, text, text, integer, text, text, jsonb)", INGEST),
        Function("memory_ingest_batch(uuid, uuid, text, text, integer, jsonb)", INGEST_BATCH),
        Function("memory_recent_answers(uuid, uuid, text, integer)", RECENT_ANSWERS),
        DefinerFunction("memory_sessions_due(integer)", SESSIONS_DUE),
        DefinerFunction("memory_turns_due(integer)", TURNS_DUE),
    ]
