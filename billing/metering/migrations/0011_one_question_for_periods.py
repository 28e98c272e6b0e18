"""Periods that are over are asked for with where their chain ends: the question before that goes."""

from django.db import migrations


class Migration(migrations.Migration):
    """A function that nothing calls."""

    dependencies = [("metering", "0010_how_far_each_machine_is_stored")]

    operations = [
        migrations.RunSQL(
            """
            DROP FUNCTION metering_periods_over(timestamptz, integer);
            """,
            migrations.RunSQL.noop,
        )
    ]
