"""The search that knows its model is the only one: the one without goes."""

from django.db import migrations


class Migration(migrations.Migration):
    """A function that nothing calls."""

    dependencies = [("memory", "0006_projects_are_their_organizations")]

    operations = [
        migrations.RunSQL(
            """
            DROP FUNCTION memory_search(uuid, uuid, bigint, text, text, text[], text[], integer, integer);
            """,
            migrations.RunSQL.noop,
        )
    ]
