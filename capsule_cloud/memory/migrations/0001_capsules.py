"""Creates capsules and what search knows of them, and the functions that save and read one."""

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity, Function

# Counts words and end users in a fair sample (about 600 entries) of the project's capsules, and estimates how many
# there are from its size. Whoever else is counting this project right now does it for both.
REFRESH_STATISTICS = """memory_refresh_statistics(p_organization uuid, p_project uuid) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_enough CONSTANT int := 600;
    v_part float8;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended(p_project::text, 7)) THEN RETURN; END IF;
    SELECT least(1.0, v_enough / (s.capsules * 1.2 + 1.0)) INTO v_part
      FROM memory_searchstatistics s WHERE s.project_id = p_project;
    v_part := coalesce(v_part, 1.0);
    INSERT INTO memory_searchstatistics AS s (
        project_id, organization_id, capsules, sample, average_length, words, people, computed_at)
    WITH taken AS MATERIALIZED (
        SELECT e.lot, e.user_id, e.lexemes, e.length FROM memory_searchentry e
         WHERE e.project_id = p_project AND e.lot < v_part ORDER BY e.lot LIMIT 2 * v_enough
    ), size AS (
        -- cut short: the last ticket drawn says what part of the project the sample is
        SELECT count(*) AS sample, CASE WHEN count(*) < 2 * v_enough THEN v_part ELSE max(lot) END AS part,
               coalesce(avg(length), 1) AS average_length FROM taken
    ), words AS (
        SELECT w.lexeme, count(*) AS seen FROM taken, unnest(taken.lexemes) w GROUP BY 1 HAVING count(*) > 2
    ), people AS (
        SELECT taken.user_id, count(*) AS seen FROM taken GROUP BY 1 HAVING count(*) > 2
    )
    SELECT p_project, p_organization, round(size.sample / size.part), size.sample, greatest(size.average_length, 1),
           coalesce((SELECT jsonb_object_agg(lexeme, round(seen::numeric / size.sample, 4)) FROM words), '{}'),
           coalesce((SELECT jsonb_object_agg(user_id, round(seen::numeric / size.sample, 4)) FROM people), '{}'),
           now() FROM size
    ON CONFLICT (project_id) DO UPDATE SET capsules = excluded.capsules, sample = excluded.sample,
        average_length = excluded.average_length, words = excluded.words, people = excluded.people,
        computed_at = excluded.computed_at;
END $$"""

# Saves a capsule and its search entry, new or again, and says whether it is new. In a large project one save in many
# (about every eighth of growth) counts its words anew.
SAVE = """memory_save(
    p_organization uuid, p_project uuid, p_id uuid, p_capsule_id text, p_user_id text, p_session_id text,
    p_agent_id text, p_origin_platform text, p_type text, p_status text, p_title text, p_tags text[],
    p_turn_count integer, p_created_at timestamptz, p_sealed_at timestamptz, p_expires_at timestamptz, p_document text,
    p_keys bigint[], p_lexemes text, p_length integer, p_embedding bytea, p_embedding_model text
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_id uuid;
    v_capsules integer;
BEGIN
    -- Another organization's project is invisible here (row security), so nothing can be put into it.
    IF NOT EXISTS (SELECT FROM tenancy_project p WHERE p.id = p_project) THEN
        RAISE 'no such project' USING ERRCODE = 'CMS04';
    END IF;
    INSERT INTO memory_capsule AS c (id, organization_id, project_id, capsule_id, user_id, session_id, agent_id,
        origin_platform, capsule_type, status, title, tags, turn_count, created_at, sealed_at, expires_at, is_pinned,
        size, document)
    VALUES (p_id, p_organization, p_project, p_capsule_id, p_user_id, p_session_id, p_agent_id, p_origin_platform,
        p_type, p_status, p_title, p_tags, p_turn_count, p_created_at, p_sealed_at, p_expires_at, false,
        octet_length(p_document), p_document)
    ON CONFLICT (organization_id, project_id, capsule_id) DO UPDATE SET user_id = excluded.user_id,
        session_id = excluded.session_id, agent_id = excluded.agent_id, origin_platform = excluded.origin_platform,
        capsule_type = excluded.capsule_type, status = excluded.status, title = excluded.title, tags = excluded.tags,
        turn_count = excluded.turn_count, created_at = excluded.created_at, sealed_at = excluded.sealed_at,
        expires_at = excluded.expires_at, size = excluded.size, document = excluded.document
    RETURNING c.id INTO v_id;
    INSERT INTO memory_searchentry (capsule_id, organization_id, project_id, user_id, capsule_type, tags, expires_at,
        keys, lexemes, length, embedding, embedding_model, lot)
    VALUES (v_id, p_organization, p_project, p_user_id, p_type, p_tags, p_expires_at,
        p_keys, p_lexemes::tsvector, p_length, p_embedding, p_embedding_model, random())
    ON CONFLICT (capsule_id) DO UPDATE SET user_id = excluded.user_id, capsule_type = excluded.capsule_type,
        tags = excluded.tags, expires_at = excluded.expires_at, keys = excluded.keys, lexemes = excluded.lexemes,
        length = excluded.length, embedding = excluded.embedding, embedding_model = excluded.embedding_model;

    SELECT s.capsules INTO v_capsules FROM memory_searchstatistics s WHERE s.project_id = p_project;
    IF v_capsules IS NULL THEN
        SELECT count(*) INTO v_capsules FROM (
            SELECT FROM memory_searchentry e WHERE e.project_id = p_project LIMIT 301
        ) few;
        IF v_capsules > 300 THEN PERFORM memory_refresh_statistics(p_organization, p_project); END IF;
    ELSIF random() < 8.0 / greatest(v_capsules, 1) THEN
        PERFORM memory_refresh_statistics(p_organization, p_project);
    END IF;
    RETURN v_id = p_id;
END $$"""

# One capsule's document, unless it has expired. Not in SQL: PostgreSQL would inline it and plan it before the
# organization is set, when row security promises no rows and any index looks as good as the right one (0.03 ms became
# 5 ms).
GET = """memory_get(p_organization uuid, p_project uuid, p_capsule_id text)
RETURNS TABLE (document text) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT c.document FROM memory_capsule c
     WHERE c.organization_id = p_organization AND c.project_id = p_project AND c.capsule_id = p_capsule_id
       AND (c.expires_at IS NULL OR c.expires_at > now());
END $$"""

# Capsules of every organization whose end has passed.
EXPIRED = """memory_capsules_expired(p_limit integer)
RETURNS TABLE (organization_id uuid, project_id uuid, capsule_id text) LANGUAGE sql STABLE AS $$
    SELECT due.organization_id, due.project_id, due.capsule_id::text FROM (
        SELECT c.organization_id, c.project_id, c.capsule_id FROM memory_capsule c
         WHERE c.expires_at <= now() ORDER BY c.expires_at LIMIT p_limit
    ) due ORDER BY 1, 2, 3
$$"""

# The words are read for every candidate of every search: inline and not compressed, beside the embedding. Documents of
# the usual size are read inline too; a longer one is compressed and moves out of its row.
LAYOUT = """
ALTER TABLE memory_searchentry ALTER lexemes SET STORAGE main, ALTER embedding SET STORAGE external;
ALTER TABLE memory_searchentry SET (toast_tuple_target = 4080);
ALTER TABLE memory_capsule SET (toast_tuple_target = 4080);
ALTER TABLE memory_searchstatistics ALTER words SET STORAGE external;
"""

# Entries end with their capsule, in PostgreSQL: Django's own cascade would first read every document that it deletes.
CASCADE = """
ALTER TABLE memory_searchentry ADD CONSTRAINT searchentry_of_capsule
    FOREIGN KEY (capsule_id) REFERENCES memory_capsule ON DELETE CASCADE
"""


class Migration(migrations.Migration):
    """Capsules."""

    initial = True

    dependencies = [("tenancy", "0002_the_tenant_wall")]

    operations = [
        migrations.CreateModel(
            name="Capsule",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("capsule_id", models.CharField(max_length=255)),
                ("user_id", models.CharField(max_length=255)),
                ("session_id", models.CharField(max_length=255)),
                ("agent_id", models.CharField(blank=True, max_length=255)),
                ("origin_platform", models.CharField(max_length=255)),
                (
                    "capsule_type",
                    models.CharField(
                        choices=[
                            ("memory", "Memory"),
                            ("skill", "Skill"),
                            ("hybrid", "Memory and skills"),
                            ("context", "Context"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("draft", "Draft"),
                            ("sealed", "Sealed"),
                            ("imported", "Imported"),
                            ("archived", "Archived"),
                        ],
                        max_length=16,
                    ),
                ),
                ("title", models.TextField(blank=True)),
                (
                    "tags",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), blank=True, default=list, size=None
                    ),
                ),
                ("turn_count", models.PositiveIntegerField(default=0)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("sealed_at", models.DateTimeField(blank=True, null=True)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("is_pinned", models.BooleanField(default=False)),
                ("size", models.PositiveIntegerField()),
                ("document", models.TextField()),
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
            options={"abstract": False, "base_manager_name": "objects"},
        ),
        migrations.CreateModel(
            name="SearchEntry",
            fields=[
                (
                    "capsule",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="memory.capsule",
                    ),
                ),
                ("user_id", models.CharField(max_length=255)),
                ("capsule_type", models.CharField(max_length=16)),
                (
                    "tags",
                    django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), default=list, size=None),
                ),
                ("expires_at", models.DateTimeField(null=True)),
                ("keys", django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None)),
                ("lexemes", django.contrib.postgres.search.SearchVectorField()),
                ("length", models.PositiveIntegerField()),
                ("embedding", models.BinaryField(null=True)),
                ("embedding_model", models.CharField(blank=True, max_length=64)),
                ("lot", models.FloatField()),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenancy.project",
                    ),
                ),
            ],
            options={"abstract": False, "base_manager_name": "objects"},
        ),
        migrations.CreateModel(
            name="SearchStatistics",
            fields=[
                (
                    "project",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="tenancy.project",
                    ),
                ),
                ("capsules", models.PositiveIntegerField()),
                ("sample", models.PositiveIntegerField()),
                ("average_length", models.FloatField()),
                ("words", models.JSONField()),
                ("people", models.JSONField()),
                ("computed_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
            ],
            options={"abstract": False, "base_manager_name": "objects"},
        ),
        migrations.AddIndex(
            model_name="capsule",
            index=models.Index(
                models.F("project"),
                models.OrderBy(models.F("sealed_at"), descending=True, nulls_last=True),
                models.F("capsule_id"),
                name="capsule_newest",
            ),
        ),
        migrations.AddIndex(
            model_name="capsule",
            index=models.Index(
                models.F("project"),
                models.F("user_id"),
                models.OrderBy(models.F("sealed_at"), descending=True, nulls_last=True),
                models.F("capsule_id"),
                name="capsule_by_user",
            ),
        ),
        migrations.AddIndex(
            model_name="capsule",
            index=models.Index(
                condition=models.Q(("expires_at__isnull", False)), fields=["expires_at"], name="capsule_to_expire"
            ),
        ),
        migrations.AddConstraint(
            model_name="capsule",
            constraint=models.UniqueConstraint(
                fields=("organization", "project", "capsule_id"), name="capsule_id_once"
            ),
        ),
        migrations.AddIndex(
            model_name="searchentry",
            index=django.contrib.postgres.indexes.GinIndex(
                fastupdate=False, fields=["keys", "lexemes"], name="search_words"
            ),
        ),
        migrations.AddIndex(
            model_name="searchentry",
            index=models.Index(
                fields=["project", "lot"],
                include=("organization", "user_id", "capsule_type", "expires_at"),
                name="search_sample",
            ),
        ),
        migrations.AddIndex(
            model_name="searchentry",
            index=models.Index(
                models.F("project"),
                models.F("user_id"),
                models.OrderBy(models.F("capsule"), descending=True, nulls_last=True),
                name="search_newest_of_user",
            ),
        ),
        migrations.AddIndex(
            model_name="searchentry",
            index=models.Index(
                models.F("project"),
                models.OrderBy(models.F("capsule"), descending=True, nulls_last=True),
                name="search_newest",
            ),
        ),
        migrations.RunSQL(LAYOUT, migrations.RunSQL.noop),
        migrations.RunSQL(CASCADE, migrations.RunSQL.noop),
        ForceRowSecurity("memory_capsule"),
        ForceRowSecurity("memory_searchentry"),
        ForceRowSecurity("memory_searchstatistics"),
        Function("memory_refresh_statistics(uuid, uuid)", REFRESH_STATISTICS),
        Function(
            "memory_save(uuid, uuid, uuid, text, text, text, text, text, text, text, text, text[], integer, "
            "timestamptz, timestamptz, timestamptz, text, bigint[], text, integer, bytea, text)",
            SAVE,
        ),
        Function("memory_get(uuid, uuid, text)", GET),
        DefinerFunction("memory_capsules_expired(integer)", EXPIRED),
    ]
