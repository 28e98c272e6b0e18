"""A place for spool lines that are no events; a segment's position is read by its name."""

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """Keep the stream moving."""

    dependencies = [("metering", "0002_count_exactly_once")]

    operations = [
        migrations.CreateModel(
            name="SpoolReject",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("segment", models.CharField(max_length=255)),
                ("offset", models.BigIntegerField()),
                ("line", models.BinaryField()),
                ("rejected_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("segment", "offset"), name="spool_reject_once"),
                ],
            },
        ),
        migrations.RunSQL(
            "DROP FUNCTION metering_positions()",
            """CREATE FUNCTION metering_positions() RETURNS TABLE (segment text, "offset" bigint)
            LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
                SELECT s.segment::text, s."offset" FROM metering_spoolposition s
            $$;
            GRANT EXECUTE ON FUNCTION metering_positions() TO capsule_app;
            ALTER FUNCTION metering_positions() OWNER TO capsule_definer;""",
        ),
    ]
