"""Pages begin with the organization: what row security asks for is then found, and not looked at row by row."""

from django.db import migrations, models

from tenancy.rls import DefinerFunction

# As before, and never by reading every row: a directory that has just been filled has no statistics yet.
HOLDING = """scim_{kind}s_holding(p_organization uuid, p_directory uuid, p_wanted text[])
RETURNS TABLE (id uuid) LANGUAGE sql STABLE SET enable_seqscan = off AS $$
    SELECT r.id FROM unnest(p_wanted) AS w(wanted)
    JOIN scim_directory{kind} r ON r.search @> w.wanted::jsonb
    WHERE r.organization_id = p_organization AND r.directory_id = p_directory
$$"""


class Migration(migrations.Migration):
    """Two indexes and two functions."""

    dependencies = [("scim", "0002_what_filters_ask_for")]

    operations = [
        migrations.RemoveIndex("directoryuser", "scim_user_page"),
        migrations.RemoveIndex("directorygroup", "scim_group_page"),
        migrations.AddIndex(
            "directoryuser", models.Index(fields=["organization", "directory", "id"], name="scim_user_page")
        ),
        migrations.AddIndex(
            "directorygroup", models.Index(fields=["organization", "directory", "id"], name="scim_group_page")
        ),
        DefinerFunction("scim_users_holding(uuid, uuid, text[])", HOLDING.format(kind="user"), is_replacement=True),
        DefinerFunction("scim_groups_holding(uuid, uuid, text[])", HOLDING.format(kind="group"), is_replacement=True),
    ]
