"""Creates the search function: it looks into one project's words by the index that row security would switch off."""

from django.db import migrations

from tenancy.rls import DefinerFunction

# Ranks one project's capsules (or one end user's in it) by BM25 and returns the best with their documents.
#
# The candidates come from the index by the rarest stems of the query, as many as promise at most v_budget capsules
# together; if they give less than p_wanted, common stems follow: first all of them together, then in the newest capsules.
# How common a stem is, the project's sample says; of the candidates' own stems the index has just given the exact number.
#
# Row security would make PostgreSQL read every row (`@@` is not leakproof), so this runs as capsule_definer and compares
# the organization itself: with the one in scope, not with an argument that a mistake could fill.
SEARCH = """memory_search(
    p_organization uuid, p_project uuid, p_key bigint, p_user_id text, p_type text, p_tags text[], p_lexemes text[],
    p_wanted integer, p_limit integer
) RETURNS TABLE (capsule_id text, title text, document text, lexical real, coverage real, weights real[], embedding bytea)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off AS $$
DECLARE
    v_organization CONSTANT uuid := nullif(current_setting('app.organization_id', true), '')::uuid;
    v_budget CONSTANT float8 := 600;
    v_saturation CONSTANT float8 := 1.5;   -- BM25's k1
    v_lengths CONSTANT float8 := 0.75;     -- BM25's b
    v_statistics memory_searchstatistics;
    v_queries tsquery[];   -- one for each stem, the rarest first
    v_order integer[];     -- where each stood in p_lexemes
    v_shares float8[];     -- of the capsules that have it
    v_crowd float8;        -- capsules to search
    v_found integer := 0;
    v_rows integer;
    v_count integer;
    v_next integer := 1;
    v_last integer;
    v_sum float8;
    v_any tsquery;         -- what candidates must have
    v_before tsquery;      -- what the passes before had
    v_newest boolean;
BEGIN
    IF v_organization IS DISTINCT FROM p_organization OR cardinality(p_lexemes) = 0 THEN RETURN; END IF;
    SELECT * INTO v_statistics FROM memory_searchstatistics s
     WHERE s.project_id = p_project AND s.organization_id = v_organization;
    IF FOUND THEN
        v_crowd := v_statistics.capsules * CASE WHEN p_user_id IS NULL THEN 1 ELSE
            coalesce((v_statistics.people->>p_user_id)::float8, 1.5 / v_statistics.sample) END;
    ELSE
        SELECT count(*) INTO v_crowd FROM (
            SELECT FROM memory_searchentry e WHERE e.project_id = p_project LIMIT 600
        ) few;
        v_statistics.average_length := 60;
    END IF;
    SELECT array_agg(t.query ORDER BY t.share, t.n), array_agg(t.share ORDER BY t.share, t.n), array_agg(t.n ORDER BY t.share, t.n)
      INTO v_queries, v_shares, v_order
      FROM (
        SELECT u.n, (quote_literal(rtrim(u.lexeme, '*')) || CASE WHEN u.lexeme LIKE '%*' THEN ':*' ELSE '' END)::tsquery AS query,
               CASE WHEN u.lexeme NOT LIKE '%*' THEN coalesce((v_statistics.words->>u.lexeme)::float8, 0)
                    ELSE least(0.9, (SELECT coalesce(sum(w.share::float8), 0)
                                       FROM jsonb_each_text(v_statistics.words) w(lexeme, share)
                                      WHERE starts_with(w.lexeme, rtrim(u.lexeme, '*')))) END
               + coalesce(0.5 / v_statistics.sample, 0) AS share
          FROM unnest(p_lexemes) WITH ORDINALITY u(lexeme, n)
      ) t;
    v_count := cardinality(v_queries);

    WHILE v_next <= v_count AND v_found < p_wanted LOOP
        -- as many of the rarest stems left as the budget has room for; in a small crowd that is all of them
        v_last := v_next - 1;
        v_sum := 0;
        v_newest := false;
        WHILE v_last < v_count AND (v_crowd <= v_budget OR v_sum + v_crowd * v_shares[v_last + 1] <= v_budget) LOOP
            v_last := v_last + 1;
            v_sum := v_sum + v_crowd * v_shares[v_last];
        END LOOP;
        IF v_last >= v_next THEN
            SELECT string_agg(q::text, ' | ')::tsquery INTO v_any FROM unnest(v_queries[v_next:v_last]) q;
            v_next := v_last + 1;
        ELSE
            -- only common stems are left: together they may be rare
            v_last := v_next;
            v_sum := v_crowd * v_shares[v_next];
            WHILE v_last < v_count AND (v_last = v_next OR v_sum > 2 * v_budget) LOOP
                v_last := v_last + 1;
                v_sum := v_sum * v_shares[v_last];
            END LOOP;
            IF v_sum <= 2 * v_budget AND (v_before IS NULL OR v_found = 0) AND v_rows IS DISTINCT FROM -1 THEN
                SELECT string_agg(q::text, ' & ')::tsquery INTO v_any FROM unnest(v_queries[v_next:v_last]) q;
                v_rows := -1;
            ELSE
                SELECT string_agg(q::text, ' | ')::tsquery INTO v_any FROM unnest(v_queries[v_next:v_count]) q;
                v_newest := true;
                v_next := v_count + 1;
            END IF;
        END IF;
        RETURN QUERY
        WITH candidate AS (
            (SELECT e.* FROM memory_searchentry e
              WHERE NOT v_newest AND e.keys @> ARRAY[p_key] AND e.lexemes @@ v_any OFFSET 0)
            UNION ALL
            (SELECT e.* FROM memory_searchentry e
              WHERE v_newest AND p_user_id IS NULL AND e.project_id = p_project AND e.lexemes @@ v_any
              ORDER BY e.capsule_id DESC LIMIT 200)
            UNION ALL
            (SELECT e.* FROM memory_searchentry e
              WHERE v_newest AND p_user_id IS NOT NULL AND e.project_id = p_project AND e.user_id = p_user_id
                AND e.lexemes @@ v_any
              ORDER BY e.capsule_id DESC LIMIT 200)
        ), pool AS (
            SELECT e.capsule_id, e.lexemes,
                   v_saturation * (1 - v_lengths + v_lengths * e.length / v_statistics.average_length) AS k
              FROM candidate e
             WHERE e.organization_id = v_organization AND e.project_id = p_project
               AND (p_user_id IS NULL OR e.user_id = p_user_id) AND (p_type IS NULL OR e.capsule_type = p_type)
               AND (p_tags IS NULL OR e.tags @> p_tags) AND (e.expires_at IS NULL OR e.expires_at > now())
               AND (v_before IS NULL OR NOT e.lexemes @@ v_before)
        ), hit AS MATERIALIZED (
            -- ts_rank of a single stem is the weight of its label over 1.6449341: BM25's saturation at 1, 2, 3.5 and 7 times
            SELECT p.capsule_id, t.n, 1.6449341 * (v_saturation + 1) * r.rank AS rank
              FROM (SELECT pool.*, ARRAY[1 / (1 + k), 2 / (2 + k), 3.5 / (3.5 + k), 7 / (7 + k)]::real[] AS labels
                      FROM pool OFFSET 0) p,
                   unnest(v_queries) WITH ORDINALITY t(query, n),
                   LATERAL (SELECT ts_rank(p.labels, p.lexemes, t.query) AS rank) r
             WHERE r.rank > 0
        ), stem AS MATERIALIZED (
            SELECT s.n, ln(1 + (greatest(v_crowd, s.capsules) - s.capsules + 0.5) / (s.capsules + 0.5)) AS idf
              FROM (SELECT t.n, CASE WHEN t.n < v_next AND NOT v_newest THEN coalesce(h.capsules, 0)
                                     ELSE greatest(v_crowd * t.share, coalesce(h.capsules, 0)) END AS capsules
                      FROM unnest(v_shares) WITH ORDINALITY t(share, n)
                      LEFT JOIN (SELECT hit.n, count(*)::float8 AS capsules FROM hit GROUP BY hit.n) h USING (n)) s
        ), best AS (
            SELECT hit.capsule_id, sum(hit.rank * stem.idf) / max(everything.idf) AS lexical,
                   sum(stem.idf) / max(everything.idf) AS coverage
              FROM hit JOIN stem USING (n), (SELECT sum(stem.idf) AS idf FROM stem) everything
             GROUP BY hit.capsule_id ORDER BY 2 DESC, 1 DESC LIMIT p_limit
        )
        SELECT c.capsule_id::text, c.title, CASE WHEN c.size <= 16384 THEN c.document END, best.lexical::real,
               best.coverage::real, (SELECT array_agg(stem.idf ORDER BY v_order[stem.n]) FROM stem)::real[], e.embedding
          FROM best JOIN memory_searchentry e ON e.capsule_id = best.capsule_id JOIN memory_capsule c ON c.id = best.capsule_id
         ORDER BY best.lexical DESC, best.capsule_id DESC;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        v_found := v_found + v_rows;
        v_before := CASE WHEN v_before IS NULL THEN v_any ELSE v_before || v_any END;
    END LOOP;
END $$"""


class Migration(migrations.Migration):
    """Search."""

    dependencies = [("memory", "0002_sessions")]

    operations = [
        DefinerFunction(
            "memory_search(uuid, uuid, bigint, text, text, text[], text[], integer, integer)",
            SEARCH,
        ),
    ]
