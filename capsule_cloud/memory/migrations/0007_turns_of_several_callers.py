"""Takes turns of several callers of an organization in one statement."""

from django.db import migrations

from tenancy.rls import Function

# As many calls of memory_ingest, of different sessions and without a noticed skill: all happen or none. What one of
# them would refuse is raised without saying which and why (CMS05): the callers then ask memory_ingest, each alone. They
# do so too when a session is locked for long, as by its seal: the others need not wait for that.
TOGETHER = """memory_ingest_together(
    p_organization uuid, p_projects uuid[], p_external_ids text[], p_user_ids text[], p_max_turns integer[],
    p_questions text[], p_answers text[]
) RETURNS TABLE (user_id text[], question_number integer[], turn_count integer[], pending_triggers integer[])
LANGUAGE plpgsql VOLATILE SET lock_timeout = '100ms' AS $$
DECLARE
    v_is_taken boolean;
    v_new uuid[];
BEGIN
    WITH given AS MATERIALIZED (
        SELECT * FROM unnest(p_projects, p_external_ids, p_user_ids, p_max_turns, p_questions, p_answers)
               WITH ORDINALITY AS g (project_id, external_id, user_id, max_turns, question, answer, n)
    ), taken AS (
        INSERT INTO memory_session AS s
               (id, organization_id, project_id, external_id, user_id, agent_id, origin_platform, started_at,
                last_turn_at, turn_count, pending_trigger_count, look_at, capsule_id, extraction)
        SELECT uuidv7(), p_organization, g.project_id, g.external_id, coalesce(g.user_id, 'default'), '', 'unknown',
               now(), now(), 2, 0, now() + interval '1 minute', '', ''
          FROM given g ORDER BY g.project_id, g.external_id  -- everybody locks in this order
            ON CONFLICT (project_id, external_id) DO UPDATE
           SET turn_count = s.turn_count + 2,
               last_turn_at = now(),
               look_at = CASE WHEN s.turn_count = 0 THEN now() + interval '1 minute' ELSE s.look_at END
     RETURNING s.id, s.project_id, s.external_id, s.user_id, s.turn_count, s.pending_trigger_count, s.sealed_at,
               old.id IS NULL AS is_new
    ), turns AS MATERIALIZED (
        SELECT t.*, g.question, g.answer, g.n,
               t.sealed_at IS NULL AND t.turn_count <= g.max_turns AND t.user_id = coalesce(g.user_id, t.user_id)
               AS is_taken
          FROM taken t JOIN given g USING (project_id, external_id)
    ), written AS (
        INSERT INTO memory_turn (session_id, number, organization_id, role, content, said_at)
        SELECT t.id, t.turn_count - 1, p_organization, 'user', t.question, now() FROM turns t
         UNION ALL
        SELECT t.id, t.turn_count, p_organization, 'assistant', t.answer, now() FROM turns t
    )
    SELECT bool_and(t.is_taken), array_agg(DISTINCT t.project_id) FILTER (WHERE t.is_new),
           array_agg(t.user_id ORDER BY t.n), array_agg(t.turn_count - 1 ORDER BY t.n),
           array_agg(t.turn_count ORDER BY t.n), array_agg(t.pending_trigger_count ORDER BY t.n)
      INTO v_is_taken, v_new, user_id, question_number, turn_count, pending_triggers
      FROM turns t;
    IF NOT v_is_taken OR (v_new IS NOT NULL AND EXISTS (
        SELECT FROM unnest(v_new) AS new (id) WHERE NOT EXISTS (SELECT FROM tenancy_project p WHERE p.id = new.id)
    )) THEN
        RAISE 'not all of these turns can be taken' USING ERRCODE = 'CMS05';
    END IF;
    RETURN NEXT;
END $$"""


class Migration(migrations.Migration):
    """One statement, one transaction and one flush to disk for the turns that wait for them."""

    dependencies = [("memory", "0006_projects_are_their_organizations")]

    operations = [Function("memory_ingest_together(uuid, uuid[], text[], text[], integer[], text[], text[])", TOGETHER)]
