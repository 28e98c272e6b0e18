"""Periods that are over are asked for with where their chain ends: the question before that goes."""

from django.db import migrations


class Migration(migrations.Migration):
    """A function that nothing calls."""

    dependencies = [("metering", "0011_closings_are_appended_to_the_trail")]

    operations = [
        migrations.RunSQL(
            """
            DROP FUNCTION metering_periods_over(timestamptz, integer);
            """,
            migrations.RunSQL.noop,
        )
    ]
