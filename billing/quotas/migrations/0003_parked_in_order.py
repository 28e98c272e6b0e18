"""Parked writes have an order and a session; counters know their level, and when they were last exact."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Columns for the sweeps."""

    dependencies = [("quotas", "0002_the_counting")]

    operations = [
        migrations.AddField(
            model_name="counter",
            name="level",
            field=models.CharField(
                choices=[("organization", "Organization"), ("project", "Project"), ("key", "API key")],
                default="organization",
                max_length=16,
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="counter",
            name="settled",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="parkedwrite",
            name="number",
            field=models.BigIntegerField(default=0),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="parkedwrite",
            name="session_id",
            field=models.CharField(default="", max_length=255),
            preserve_default=False,
        ),
        migrations.RemoveIndex(
            model_name="parkedwrite",
            name="parked_in_order",
        ),
        migrations.AddIndex(
            model_name="parkedwrite",
            index=models.Index(
                condition=models.Q(("state", "parked")),
                fields=["organization", "project_id", "number"],
                name="parked_in_order",
            ),
        ),
    ]
