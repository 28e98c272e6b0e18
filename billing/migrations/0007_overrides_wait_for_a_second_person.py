"""A generous override waits until somebody else than its author approves it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Who asked, and since when it holds."""

    dependencies = [("billing", "0006_everybody_for_a_simulation")]

    operations = [
        migrations.RemoveConstraint(model_name="entitlementoverride", name="override_live_once"),
        migrations.AddField(
            model_name="entitlementoverride",
            name="author_id",
            field=models.CharField(db_default="", max_length=64),
        ),
        migrations.AddField(
            model_name="entitlementoverride",
            name="holds_from",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name="entitlementoverride",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at", None), ("holds_from__isnull", False)),
                fields=("organization", "key"),
                name="override_holds_once",
            ),
        ),
    ]
