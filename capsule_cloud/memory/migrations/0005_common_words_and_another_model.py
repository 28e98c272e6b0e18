"""Looks common words up among the capsules that they are central to, and finds search entries to make anew."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

from tenancy.rls import DefinerFunction

# The newest of a project's capsules (or of one end user's) that match: at most 400, among the newest 4,000.
# A function of its own, because the planner would rather read and sort all that match; NULLS LAST, because it would
# rather walk the primary key, through everybody's capsules.
NEWEST = """memory_newest(p_project uuid, p_user_id text, p_type text, p_tags text[], p_query tsquery) RETURNS uuid[]
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_bitmapscan = off SET enable_seqscan = off SET enable_sort = off AS $$
DECLARE
    v_organization CONSTANT uuid := nullif(current_setting('app.organization_id', true), '')::uuid;
BEGIN
    IF p_user_id IS NULL THEN
        RETURN ARRAY(
            SELECT n.capsule_id FROM (
                SELECT e.capsule_id, e.lexemes, e.organization_id, e.capsule_type, e.tags FROM memory_searchentry e
                 WHERE e.project_id = p_project ORDER BY e.capsule_id DESC NULLS LAST LIMIT 4000
            ) n
             WHERE n.lexemes @@ p_query AND n.organization_id = v_organization
               AND (p_type IS NULL OR n.capsule_type = p_type) AND (p_tags IS NULL OR n.tags @> p_tags)
             LIMIT 400
        );
    END IF;
    RETURN ARRAY(
        SELECT n.capsule_id FROM (
            SELECT e.capsule_id, e.lexemes, e.organization_id, e.capsule_type, e.tags FROM memory_searchentry e
             WHERE e.project_id = p_project AND e.user_id = p_user_id ORDER BY e.capsule_id DESC NULLS LAST LIMIT 4000
        ) n
         WHERE n.lexemes @@ p_query AND n.organization_id = v_organization
           AND (p_type IS NULL OR n.capsule_type = p_type) AND (p_tags IS NULL OR n.tags @> p_tags)
         LIMIT 400
    );
END $$"""

# Ranks one project's capsules (or one end user's in it) by BM25 and returns the best with their documents.
#
# The candidates come from the index by the rarest stems of the query, as many as promise at most v_budget capsules
# together. If these give less than p_wanted, or every stem is common, combinations of common stems follow (they are
# rarer than each alone), then the capsules that have common stems among their central ones (analysis.CENTRAL), and then
# the newest capsules that have any. How common a stem is, the project's sample says; of the stems that brought the
# candidates, the candidates say it exactly.
#
# Row security would make PostgreSQL read every row (`@@` is not leakproof), so this runs as capsule_definer and
# compares the organization itself: with the one in scope, not with an argument that a mistake could fill.
# An embedding that another model made is none.
SEARCH = """memory_search(
    p_organization uuid, p_project uuid, p_key bigint, p_user_id text, p_type text, p_tags text[], p_lexemes text[],
    p_wanted integer, p_limit integer, p_model text
) RETURNS TABLE (
    capsule_id text, title text, document text, lexical real, coverage real, weights real[], embedding bytea
)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off AS $$
DECLARE
    v_organization CONSTANT uuid := nullif(current_setting('app.organization_id', true), '')::uuid;
    v_budget CONSTANT float8 := 600;
    v_saturation CONSTANT float8 := 1.5;   -- BM25's k1
    v_lengths CONSTANT float8 := 0.75;     -- BM25's b
    v_words jsonb[];       -- one element: as a variable of its own it would be unpacked at each use
    v_average float8;      -- length of a capsule
    v_floor float8 := 0;   -- share of a stem that the sample has not
    v_crowd float8;        -- capsules to search
    v_queries tsquery[];   -- one for each stem, the rarest first
    v_order integer[];     -- where each stood in p_lexemes
    v_shares float8[];     -- of the capsules that have it
    v_count integer;
    v_exact integer := 0;  -- stems whose every capsule is among the candidates
    v_last integer := 0;
    v_sum float8 := 0;
    v_stage integer := 1;  -- 1 rare stems, 2 common ones together, 3 pairs of them, 4 central ones, 5 the newest
    v_any tsquery;         -- what candidates must have
    v_before tsquery;      -- what the stages before had
    v_newest uuid[];
    v_found integer := 0;
    v_rows integer;
BEGIN
    IF v_organization IS DISTINCT FROM p_organization OR cardinality(p_lexemes) = 0 THEN RETURN; END IF;
    SELECT ARRAY[s.words], s.average_length, 0.5 / s.sample,
           s.capsules * CASE WHEN p_user_id IS NULL THEN 1
                             ELSE coalesce((s.people->>p_user_id)::float8, 1.5 / s.sample) END
      INTO v_words, v_average, v_floor, v_crowd
      FROM memory_searchstatistics s WHERE s.project_id = p_project AND s.organization_id = v_organization;
    IF NOT FOUND THEN
        v_words := ARRAY['{}'::jsonb];
        v_average := 60;
        v_floor := 0;
        SELECT count(*) INTO v_crowd FROM (
            SELECT FROM memory_searchentry e WHERE e.project_id = p_project LIMIT 600
        ) few;
    END IF;
    SELECT array_agg(t.query ORDER BY t.share, t.n), array_agg(t.share ORDER BY t.share, t.n),
           array_agg(t.n ORDER BY t.share, t.n), count(*)
      INTO v_queries, v_shares, v_order, v_count
      FROM (
        SELECT u.n,
               (quote_literal(rtrim(u.lexeme, '*')) || CASE WHEN u.lexeme LIKE '%*' THEN ':*' ELSE '' END)::tsquery
                   AS query,
               least(1, v_floor + coalesce(
                   CASE WHEN u.lexeme LIKE '%*' THEN (
                       SELECT sum(w.share::float8) FROM jsonb_each_text(v_words[1]) w(lexeme, share)
                        WHERE starts_with(w.lexeme, rtrim(u.lexeme, '*'))
                   ) ELSE (v_words[1]->>u.lexeme)::float8 END, 0)) AS share
          FROM unnest(p_lexemes) WITH ORDINALITY u(lexeme, n)
      ) t;

    LOOP
        v_any := NULL;
        v_newest := NULL;
        CASE v_stage
        WHEN 1 THEN
            WHILE v_last < v_count AND (v_crowd <= v_budget OR v_sum + v_crowd * v_shares[v_last + 1] <= v_budget) LOOP
                v_last := v_last + 1;
                v_sum := v_sum + v_crowd * v_shares[v_last];
            END LOOP;
            SELECT string_agg(q::text, ' | ')::tsquery INTO v_any FROM unnest(v_queries[1:v_last]) q;
            v_exact := v_last;
        WHEN 2 THEN
            v_last := v_exact + 1;
            v_sum := v_crowd * v_shares[v_last];
            WHILE v_last < v_count AND (v_last = v_exact + 1 OR v_sum > 2 * v_budget) LOOP
                v_last := v_last + 1;
                v_sum := v_sum * v_shares[v_last];
            END LOOP;
            IF v_sum <= 2 * v_budget THEN
                SELECT string_agg(q::text, ' & ')::tsquery INTO v_any FROM unnest(v_queries[v_exact + 1:v_last]) q;
            END IF;
        WHEN 3 THEN
            SELECT string_agg(format('(%s & %s)', v_queries[pair.a], v_queries[pair.b]), ' | ')::tsquery INTO v_any
              FROM (
                SELECT a, b, v_crowd * sum(v_shares[a] * v_shares[b])
                                 OVER (ORDER BY v_shares[a] * v_shares[b], a, b) AS total
                  FROM generate_series(v_exact + 1, least(v_count, v_exact + 6)) a,
                       generate_series(v_exact + 1, least(v_count, v_exact + 6)) b WHERE a < b
              ) pair WHERE pair.total <= v_budget;
        WHEN 4 THEN
            SELECT string_agg(central.query::text, ' | ')::tsquery INTO v_any
              FROM (
                SELECT (quote_literal('!' || rtrim(s.lexeme, '*')) ||
                        CASE WHEN s.lexeme LIKE '%*' THEN ':*' ELSE '' END)::tsquery AS query,
                       v_crowd * sum(s.share) OVER (ORDER BY s.share, s.n) AS total
                  FROM (SELECT n, p_lexemes[v_order[n]] AS lexeme,
                               CASE WHEN p_lexemes[v_order[n]] LIKE '%*' THEN v_shares[n] / 8
                                    ELSE v_floor + coalesce((v_words[1]->>('!' || p_lexemes[v_order[n]]))::float8, 0)
                                END AS share
                          FROM generate_series(v_exact + 1, v_count) n) s
              ) central WHERE central.total <= 2 * v_budget;
        ELSE
            SELECT string_agg(q::text, ' | ')::tsquery INTO v_any FROM unnest(v_queries[v_exact + 1:v_count]) q;
            v_newest := memory_newest(p_project, p_user_id, p_type, p_tags, v_any);
        END CASE;
        IF v_any IS NOT NULL THEN
            RETURN QUERY
            WITH candidate AS (
                (SELECT e.capsule_id, e.organization_id, e.project_id, e.user_id, e.capsule_type, e.tags, e.expires_at,
                        e.length, e.lexemes
                   FROM memory_searchentry e
                  WHERE v_newest IS NULL AND e.keys @> ARRAY[p_key] AND e.lexemes @@ v_any OFFSET 0)
                UNION ALL
                (SELECT e.capsule_id, e.organization_id, e.project_id, e.user_id, e.capsule_type, e.tags, e.expires_at,
                        e.length, e.lexemes
                   FROM unnest(v_newest) n(id) JOIN memory_searchentry e ON e.capsule_id = n.id)
            ), pool AS (
                SELECT e.capsule_id, e.lexemes,
                       v_saturation * (1 - v_lengths + v_lengths * e.length / v_average) AS k
                  FROM candidate e
                 WHERE e.organization_id = v_organization AND e.project_id = p_project
                   AND (p_user_id IS NULL OR e.user_id = p_user_id) AND (p_type IS NULL OR e.capsule_type = p_type)
                   AND (p_tags IS NULL OR e.tags @> p_tags) AND (e.expires_at IS NULL OR e.expires_at > now())
                   AND (v_before IS NULL OR NOT e.lexemes @@ v_before)
            ), hit AS MATERIALIZED (
                -- ts_rank of one stem is its label's weight over 1.6449341: BM25's saturation at 1, 2, 3.5 and 7 times.
                -- OFFSET 0 keeps the planner from computing labels and ranks twice.
                SELECT p.capsule_id, r.n, r.rank
                  FROM (SELECT pool.capsule_id, pool.lexemes,
                               ARRAY[1 / (1 + k), 2 / (2 + k), 3.5 / (3.5 + k), 7 / (7 + k)]::real[] AS labels
                          FROM pool OFFSET 0) p,
                       LATERAL (SELECT t.n, ts_rank(p.labels, p.lexemes, t.query) AS rank
                                  FROM unnest(v_queries) WITH ORDINALITY t(query, n) OFFSET 0) r
                 WHERE r.rank > 0
            ), stem AS MATERIALIZED (
                SELECT s.n, ln(1 + (greatest(v_crowd, s.capsules) - s.capsules + 0.5) / (s.capsules + 0.5)) AS idf
                  FROM (SELECT t.n, CASE WHEN t.n <= v_exact AND v_stage = 1 THEN coalesce(h.capsules, 0)
                                         ELSE greatest(v_crowd * t.share, coalesce(h.capsules, 0)) END AS capsules
                          FROM unnest(v_shares) WITH ORDINALITY t(share, n)
                          LEFT JOIN (SELECT hit.n, count(*)::float8 AS capsules FROM hit GROUP BY hit.n) h USING (n)) s
            ), best AS (
                SELECT hit.capsule_id,
                       1.6449341 * (v_saturation + 1) * sum(hit.rank * stem.idf) / max(everything.idf) AS lexical,
                       sum(stem.idf) / max(everything.idf) AS coverage
                  FROM hit JOIN stem USING (n), (SELECT sum(stem.idf) AS idf FROM stem) everything
                 GROUP BY hit.capsule_id ORDER BY 2 DESC, 1 DESC LIMIT p_limit
            )
            SELECT c.capsule_id::text, c.title, CASE WHEN c.size <= 16384 THEN c.document END, best.lexical::real,
                   best.coverage::real, (SELECT array_agg(stem.idf ORDER BY v_order[stem.n]) FROM stem)::real[],
                   CASE WHEN split_part(e.embedding_model, '/', 1) = p_model THEN e.embedding END
              FROM best JOIN memory_searchentry e ON e.capsule_id = best.capsule_id
              JOIN memory_capsule c ON c.id = best.capsule_id
             ORDER BY best.lexical DESC, best.capsule_id DESC;
            GET DIAGNOSTICS v_rows = ROW_COUNT;
            v_found := v_found + v_rows;
            v_before := CASE WHEN v_before IS NULL THEN v_any ELSE v_before || v_any END;
        END IF;
        v_stage := v_stage + 1;
        EXIT WHEN v_found >= p_wanted OR v_exact = v_count OR v_stage > 5;
    END LOOP;
END $$"""

# Locks at most p_limit search entries (twice as many, when some are newer and some older) that another recipe than
# p_recipe made, until the transaction ends. Two ranges and never `<>`, which no index answers; whoever else is at work
# on some gets on with others.
OUTDATED = """memory_entries_outdated(p_recipe text, p_limit integer)
RETURNS TABLE (organization_id uuid, project_id uuid, capsule_id uuid) LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN QUERY
    WITH earlier AS (
        SELECT e.organization_id, e.project_id, e.capsule_id FROM memory_searchentry e
         WHERE e.embedding_model < p_recipe LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED
    ), later AS (
        SELECT e.organization_id, e.project_id, e.capsule_id FROM memory_searchentry e
         WHERE e.embedding_model > p_recipe LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED
    )
    SELECT * FROM (SELECT * FROM earlier UNION ALL SELECT * FROM later) o ORDER BY 1, 2, 3 LIMIT p_limit;
END $$"""


class Migration(migrations.Migration):
    """Better common words, and a change of model.

    The search function of nine arguments (0003) stays for the code before this.
    """

    atomic = False  # an index that nobody waits for
    dependencies = [("memory", "0004_a_turn_opens_its_session")]

    operations = [
        DefinerFunction("memory_newest(uuid, text, text, text[], tsquery)", NEWEST, is_replacement=True),
        DefinerFunction(
            "memory_search(uuid, uuid, bigint, text, text, text[], text[], integer, integer, text)",
            SEARCH,
        ),
        DefinerFunction("memory_entries_outdated(text, integer)", OUTDATED),
        AddIndexConcurrently("searchentry", models.Index(fields=["embedding_model"], name="search_recipe")),
    ]
