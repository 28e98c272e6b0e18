"""Users and groups as filters compare them, with an index that serves one directory at a time."""

import django.contrib.postgres.indexes
from django.db import migrations, models

from tenancy.rls import DefinerFunction

# Row security would make PostgreSQL read every row (`@>` is not leakproof), so these run as capsule_definer and compare
# the organization and the directory themselves. They say which rows may match and nothing of them.
HOLDING = """scim_{kind}s_holding(p_organization uuid, p_directory uuid, p_wanted text[])
RETURNS TABLE (id uuid) LANGUAGE sql STABLE AS $$
    SELECT r.id FROM unnest(p_wanted) AS w(wanted)
    JOIN scim_directory{kind} r ON r.search @> w.wanted::jsonb
    WHERE r.organization_id = p_organization AND r.directory_id = p_directory
$$"""


class Migration(migrations.Migration):
    """Columns, indexes, and the two questions that use them."""

    dependencies = [("scim", "0001_directories")]

    operations = [
        migrations.AddField("directory", "user_count", models.PositiveIntegerField(default=0)),
        migrations.AddField("directory", "group_count", models.PositiveIntegerField(default=0)),
        migrations.AddField("directoryuser", "search", models.JSONField(default=dict)),
        migrations.AddField("directorygroup", "search", models.JSONField(default=dict)),
        migrations.AddField(
            "directoryuser", "name_key", models.TextField(db_collation="C", default=""), preserve_default=False
        ),
        migrations.AddField(
            "directorygroup", "name_key", models.TextField(db_collation="C", default=""), preserve_default=False
        ),
        migrations.AddField("directorygroupmember", "display", models.CharField(blank=True, max_length=320)),
        # the organization is what row security asks for: with it in the index, pages are skipped without their rows
        migrations.RemoveIndex("directoryuser", "scim_user_page"),
        migrations.AddIndex(
            "directoryuser",
            models.Index(fields=["directory", "id"], include=["organization"], name="scim_user_page"),
        ),
        migrations.RemoveConstraint("directoryuser", "scim_user_name_once"),
        migrations.RemoveConstraint("directorygroup", "scim_group_name_once"),
        migrations.AddConstraint(
            "directoryuser", models.UniqueConstraint(fields=["directory", "name_key"], name="scim_user_key_once")
        ),
        migrations.AddIndex("directorygroup", models.Index(fields=["directory", "name_key"], name="scim_group_key")),
        migrations.AddIndex(
            "directoryuser",
            django.contrib.postgres.indexes.GinIndex(
                fields=["search"], name="scim_user_search", opclasses=["jsonb_path_ops"]
            ),
        ),
        migrations.AddIndex(
            "directorygroup",
            django.contrib.postgres.indexes.GinIndex(
                fields=["search"], name="scim_group_search", opclasses=["jsonb_path_ops"]
            ),
        ),
        DefinerFunction("scim_users_holding(uuid, uuid, text[])", HOLDING.format(kind="user")),
        DefinerFunction("scim_groups_holding(uuid, uuid, text[])", HOLDING.format(kind="group")),
    ]
