"""Takes a turn by an upsert of its session, which always goes by the session's own index."""

from django.db import migrations

from tenancy.rls import Function

# Takes one question and its answer, and opens the session when there is none. The upsert is the lock: it settles owner,
# state and numbers for everybody who waits behind it. Refusals are raised, not returned, so that nothing else in the
# statement happens either.
# ON CONFLICT looks the session up in the index that it names. A WHERE is planned: among few sessions, as right after
# an installation, it read all of the project's, and connections kept that plan.
INGEST = """memory_ingest(
    p_organization uuid, p_project uuid, p_external_id text, p_user_id text, p_max_turns integer,
    p_question text, p_answer text, p_trigger jsonb
) RETURNS TABLE (user_id text, question_number integer, turn_count integer, pending_triggers integer)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_found memory_session;
    v_session uuid;
    v_is_new boolean;
BEGIN
    LOOP
        INSERT INTO memory_session AS s
               (id, organization_id, project_id, external_id, user_id, agent_id, origin_platform, started_at,
                last_turn_at, turn_count, pending_trigger_count, look_at, capsule_id, extraction)
        VALUES (uuidv7(), p_organization, p_project, p_external_id, coalesce(p_user_id, 'default'), '', 'unknown',
                now(), now(), 2, 0, now() + interval '1 minute', '', '')
            ON CONFLICT (project_id, external_id) DO UPDATE
           SET turn_count = s.turn_count + 2,
               last_turn_at = now(),
               look_at = CASE WHEN s.turn_count = 0 THEN now() + interval '1 minute' ELSE s.look_at END
         WHERE s.sealed_at IS NULL AND (p_user_id IS NULL OR s.user_id = p_user_id)
           AND s.turn_count + 2 <= p_max_turns
     RETURNING s.id, s.user_id, s.turn_count, s.pending_trigger_count, old.id IS NULL
          INTO v_session, user_id, turn_count, pending_triggers, v_is_new;
        EXIT WHEN FOUND;

        SELECT * INTO v_found
          FROM memory_session s WHERE s.project_id = p_project AND s.external_id = p_external_id;
        IF v_found.user_id <> p_user_id THEN
            RAISE 'session belongs to another user' USING ERRCODE = 'CMS01';
        ELSIF v_found.sealed_at IS NOT NULL THEN
            RAISE 'session is sealed' USING ERRCODE = 'CMS02';
        ELSIF v_found.turn_count + 2 > p_max_turns THEN
            RAISE 'session is full' USING ERRCODE = 'CMS03';
        END IF;  -- else it has changed just now: try again
    END LOOP;
    IF v_is_new AND NOT EXISTS (SELECT FROM tenancy_project p WHERE p.id = p_project) THEN
        RAISE 'no such project' USING ERRCODE = 'CMS04';
    END IF;

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


class Migration(migrations.Migration):
    """One statement finds or opens the session."""

    dependencies = [("memory", "0003_search")]

    operations = [
        Function("memory_ingest(uuid, uuid, text, text, integer, text, text, jsonb)", INGEST, is_replacement=True),
    ]
