"""Metering's loop closes periods for invoices too: what invoicing asked on its own goes."""

from django.db import migrations


class Migration(migrations.Migration):
    """Two functions that nothing calls."""

    dependencies = [("invoicing", "0005_periods_are_closed_once")]

    operations = [
        migrations.RunSQL(
            """
            DROP FUNCTION invoicing_periods_over(timestamptz, uuid, integer);
            DROP FUNCTION invoicing_drafts(timestamptz, uuid, integer);
            """,
            migrations.RunSQL.noop,
        )
    ]
