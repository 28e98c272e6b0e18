"""What data planes elsewhere report draws on the counters, also beyond a cap: it has happened."""

from django.db import migrations

from tenancy.rls import Function


class Migration(migrations.Migration):
    """Two functions for it."""

    dependencies = [("quotas", "0007_end_users_are_admitted")]

    operations = [
        Function(
            # Adds to every counter that applies, whatever its cap; a row for each limit, with what is used after it.
            # `p_units` are of the billing period, `p_units_of_day` those of today. It is not granted: it is in the
            # events already. A counter that is missing is named and nothing is added: ask with no units before.
            "quotas_draw(uuid, uuid, uuid, text, bigint, bigint)",
            """quotas_draw(
                p_organization uuid, p_project uuid, p_key uuid, p_allowance text, p_units bigint,
                p_units_of_day bigint
            ) RETURNS TABLE (
                is_missing boolean, level text, subject_id uuid, span text, starts_at timestamptz, amount bigint,
                used bigint, drawn bigint
            ) LANGUAGE plpgsql VOLATILE AS $$
            DECLARE
                v_period timestamptz; v_day timestamptz := date_trunc('day', now(), 'UTC');
                v_id uuid; v_done uuid[] := '{}'; w record;
            BEGIN
                SELECT p.starts_at INTO v_period FROM quotas_period(p_organization) p;
                FOR w IN
                    SELECT 'organization' AS level, o.id AS subject_id, 'period' AS span, CASE p_allowance
                        WHEN 'operations' THEN o.operation_limit WHEN 'documents' THEN o.document_limit END AS amount
                    FROM tenancy_organization o WHERE o.id = p_organization
                    UNION ALL
                    SELECT c.level, c.subject_id, c.span, c.amount FROM quotas_cap c
                    WHERE c.organization_id = p_organization AND c.allowance = p_allowance
                        AND c.subject_id IN (p_organization, p_project, p_key)
                    ORDER BY subject_id, span  -- as everybody locks
                LOOP
                    CONTINUE WHEN w.amount IS NULL;
                    level := w.level; subject_id := w.subject_id; span := w.span; amount := w.amount;
                    starts_at := CASE w.span WHEN 'day' THEN v_day ELSE v_period END;
                    drawn := CASE w.span WHEN 'day' THEN p_units_of_day ELSE p_units END;
                    SELECT k.id, k.used INTO v_id, used FROM quotas_counter k
                    WHERE k.organization_id = p_organization AND k.allowance = p_allowance
                        AND k.subject_id = w.subject_id AND k.span = w.span AND k.starts_at = quotas_draw.starts_at;
                    is_missing := NOT FOUND;
                    IF NOT is_missing AND drawn > 0 AND NOT v_id = ANY (v_done) THEN
                        UPDATE quotas_counter k SET used = k.used + drawn WHERE k.id = v_id
                        RETURNING k.used INTO used;
                        v_done := v_done || v_id;
                    END IF;
                    RETURN NEXT;
                END LOOP;
            END $$""",
        ),
        Function(
            # Counts end users who were active elsewhere, also beyond a limit; a row for each limit.
            "quotas_count_users(uuid, uuid, text[])",
            """quotas_count_users(p_organization uuid, p_project uuid, p_names text[]) RETURNS TABLE (
                amount bigint, used bigint, drawn bigint
            ) LANGUAGE plpgsql VOLATILE AS $$
            DECLARE v_starts_at timestamptz; v_counter uuid;
            BEGIN
                SELECT p.starts_at INTO v_starts_at FROM quotas_period(p_organization) p;
                IF NOT quotas_counts_users(p_organization, v_starts_at) THEN
                    RETURN;
                END IF;
                SELECT k.id, k.used INTO v_counter, used FROM quotas_lock_users(p_organization, v_starts_at) k;
                UPDATE quotas_activeuser a SET is_sure = true
                WHERE NOT a.is_sure AND a.id IN (
                    SELECT quotas_user_id(p_organization, p_project, v_starts_at, n.name) FROM unnest(p_names) n(name)
                );
                INSERT INTO quotas_activeuser (id, organization_id, starts_at, is_sure)
                SELECT quotas_user_id(p_organization, p_project, v_starts_at, n.name), p_organization, v_starts_at, true
                FROM (SELECT DISTINCT unnest(p_names) AS name) n ON CONFLICT DO NOTHING;
                GET DIAGNOSTICS drawn = ROW_COUNT;
                UPDATE quotas_counter k SET used = k.used + drawn WHERE k.id = v_counter RETURNING k.used INTO used;
                RETURN QUERY
                    SELECT l.amount, quotas_count_users.used, quotas_count_users.drawn FROM (
                        SELECT o.end_user_limit AS amount FROM tenancy_organization o WHERE o.id = p_organization
                        UNION ALL
                        SELECT c.amount FROM quotas_cap c
                        WHERE c.organization_id = p_organization AND c.allowance = 'end_users'
                    ) l WHERE l.amount IS NOT NULL;
            END $$""",
        ),
    ]
