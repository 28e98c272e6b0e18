"""A key is found with its plan, its caps and its project: the answer without caps goes."""

from django.db import migrations


class Migration(migrations.Migration):
    """A function that nothing calls."""

    dependencies = [("tenancy", "0010_reads_may_be_audited")]

    operations = [
        migrations.RunSQL(
            """
            DROP FUNCTION tenancy_find_key_and_plan(bytea);
            """,
            migrations.RunSQL.noop,
        )
    ]
