"""More kinds of writes wait, an organization's are summed up as they come and go, and a lifted cap is said once."""

import django.db.models.deletion
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity, Function

FILL = """
    ALTER TABLE quotas_parkedwrite NO FORCE ROW LEVEL SECURITY;
    INSERT INTO quotas_parkedtotal (id, organization_id, writes, bytes)
    SELECT gen_random_uuid(), q.organization_id, count(*), sum(octet_length(q.sealed_body))
    FROM quotas_parkedwrite q WHERE q.state <> 'applied' GROUP BY q.organization_id;
    ALTER TABLE quotas_parkedwrite FORCE ROW LEVEL SECURITY;
"""


class Migration(migrations.Migration):
    """What waits is limited, and whoever was told of a reached cap is told when it lifts."""

    dependencies = [("quotas", "0008_reported_use_draws_too")]

    operations = [
        migrations.AlterField(
            model_name="parkedwrite",
            name="kind",
            field=models.CharField(
                choices=[
                    ("ingest", "Turns"),
                    ("seal", "Seal"),
                    ("import", "Import"),
                    ("open", "New session"),
                    ("merge", "Merge"),
                    ("fork", "Copy"),
                    ("skill", "Skill"),
                    ("pin", "Pin"),
                    ("tag", "Tags"),
                    ("expire", "End date"),
                ],
                max_length=16,
            ),
        ),
        migrations.AddField(model_name="notice", name="lifted_at", field=models.DateTimeField(null=True)),
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(
                condition=models.Q(("kind", "threshold"), ("lifted_at__isnull", True), ("percent__gte", 100)),
                fields=["organization", "what", "subject_id", "span"],
                name="notice_reached",
            ),
        ),
        migrations.CreateModel(
            name="ParkedTotal",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("writes", models.BigIntegerField(default=0)),
                ("bytes", models.BigIntegerField(default=0)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "constraints": [models.UniqueConstraint(fields=("organization",), name="parked_total_once")],
            },
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        ForceRowSecurity("quotas_parkedtotal"),
        Function(
            # The row's lock makes the writers of an organization wait for each other: whoever reads the sum after its
            # own write reads what is true until it commits.
            "quotas_add_parked(uuid, bigint, bigint)",
            """quotas_add_parked(p_organization uuid, p_writes bigint, p_bytes bigint) RETURNS void
            LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                UPDATE quotas_parkedtotal t SET writes = t.writes + p_writes, bytes = t.bytes + p_bytes
                WHERE t.organization_id = p_organization;
                IF NOT FOUND AND p_writes > 0 THEN
                    INSERT INTO quotas_parkedtotal AS t (id, organization_id, writes, bytes)
                    VALUES (gen_random_uuid(), p_organization, p_writes, p_bytes)
                    ON CONFLICT (organization_id) DO UPDATE
                    SET writes = t.writes + excluded.writes, bytes = t.bytes + excluded.bytes;
                END IF;
            END $$""",
        ),
        Function(
            # An applied write has no content any more; every other one keeps it.
            "quotas_sum_parked()",
            """quotas_sum_parked() RETURNS trigger LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                IF TG_OP = 'INSERT' THEN
                    PERFORM quotas_add_parked(g.organization_id, count(*), sum(octet_length(g.sealed_body)))
                    FROM gained g WHERE g.state <> 'applied' GROUP BY g.organization_id;
                ELSIF TG_OP = 'DELETE' THEN
                    PERFORM quotas_add_parked(l.organization_id, -count(*), -sum(octet_length(l.sealed_body)))
                    FROM lost l WHERE l.state <> 'applied' GROUP BY l.organization_id;
                ELSE
                    PERFORM quotas_add_parked(c.organization_id, sum(c.writes)::bigint, sum(c.bytes)::bigint) FROM (
                        SELECT g.organization_id, 1 AS writes, octet_length(g.sealed_body) AS bytes
                        FROM gained g WHERE g.state <> 'applied'
                        UNION ALL
                        SELECT l.organization_id, -1, -octet_length(l.sealed_body) FROM lost l
                        WHERE l.state <> 'applied'
                    ) c GROUP BY c.organization_id HAVING sum(c.writes) <> 0 OR sum(c.bytes) <> 0;
                END IF;
                RETURN NULL;
            END $$""",
        ),
        migrations.RunSQL(
            """
            CREATE TRIGGER sum_new AFTER INSERT ON quotas_parkedwrite
                REFERENCING NEW TABLE AS gained FOR EACH STATEMENT EXECUTE FUNCTION quotas_sum_parked();
            CREATE TRIGGER sum_changed AFTER UPDATE ON quotas_parkedwrite
                REFERENCING NEW TABLE AS gained OLD TABLE AS lost
                FOR EACH STATEMENT EXECUTE FUNCTION quotas_sum_parked();
            CREATE TRIGGER sum_gone AFTER DELETE ON quotas_parkedwrite
                REFERENCING OLD TABLE AS lost FOR EACH STATEMENT EXECUTE FUNCTION quotas_sum_parked();
            """,
            """
            DROP TRIGGER sum_new ON quotas_parkedwrite;
            DROP TRIGGER sum_changed ON quotas_parkedwrite;
            DROP TRIGGER sum_gone ON quotas_parkedwrite;
            """,
        ),
        DefinerFunction(
            # Caps that were said to be reached and hold nothing back any more: another period or day has begun, or the
            # plan has no such limit now. What is sampled lifts when it was seen below its limits.
            "quotas_lifted(integer)",
            """quotas_lifted(p_limit integer) RETURNS TABLE (
                organization_id uuid, allowance text, level text, subject_id uuid, span text, cap bigint, notices uuid[]
            ) LANGUAGE sql STABLE AS $$
                SELECT r.organization_id, r.what::text, k.level::text, r.subject_id, r.span::text, l.least, r.ids
                FROM (
                    SELECT n.organization_id, n.what, n.subject_id, n.span, max(n.starts_at) AS starts_at,
                        array_agg(n.id ORDER BY n.id) AS ids, array_agg(n."limit") AS said
                    FROM quotas_notice n
                    WHERE n.kind = 'threshold' AND n.percent >= 100 AND n.lifted_at IS NULL
                    GROUP BY n.organization_id, n.what, n.subject_id, n.span
                ) r
                JOIN quotas_counter k ON k.organization_id = r.organization_id AND k.allowance = r.what
                    AND k.subject_id = r.subject_id AND k.span = r.span AND k.starts_at = r.starts_at
                CROSS JOIN LATERAL (
                    SELECT CASE r.span WHEN 'day' THEN date_trunc('day', now(), 'UTC')
                        ELSE (SELECT q.starts_at FROM quotas_period(r.organization_id) q) END AS starts_at
                ) p
                LEFT JOIN quotas_counter c ON c.organization_id = r.organization_id AND c.allowance = r.what
                    AND c.subject_id = r.subject_id AND c.span = r.span AND c.starts_at = p.starts_at
                CROSS JOIN LATERAL (
                    SELECT min(f.cap) AS least, coalesce(bool_or(f.cap = ANY (r.said)), false) AS is_same FROM (
                        SELECT CASE r.what WHEN 'operations' THEN o.operation_limit
                            WHEN 'documents' THEN o.document_limit WHEN 'end_users' THEN o.end_user_limit END AS cap
                        FROM tenancy_organization o
                        WHERE o.id = r.organization_id AND r.subject_id = o.id AND r.span = 'period'
                        UNION ALL
                        SELECT m.amount FROM quotas_cap m
                        WHERE m.organization_id = r.organization_id AND m.allowance = r.what
                            AND m.subject_id = r.subject_id
                            AND (m.span = r.span OR (r.span = 'sampled' AND r.what = 'stored_bytes'))
                        UNION ALL
                        SELECT c.included
                    ) f
                ) l
                WHERE CASE
                    WHEN r.span = 'sampled' THEN c.id IS NOT NULL AND (l.least IS NULL OR c.used < l.least)
                    WHEN r.starts_at < p.starts_at THEN l.least IS NULL OR l.least > 0
                    ELSE NOT l.is_same AND (l.least IS NULL OR coalesce(c.used, 0) < l.least)
                END
                ORDER BY r.organization_id LIMIT p_limit
            $$""",
        ),
    ]
