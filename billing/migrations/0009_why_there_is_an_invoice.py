"""Why Stripe made an invoice, and when it was settled there."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0008_dunning_never_goes_back"),
    ]

    operations = [
        migrations.AddField(
            model_name="document",
            name="billing_reason",
            field=models.CharField(blank=True, db_default="", max_length=32),
        ),
        migrations.AddField(
            model_name="document",
            name="settled_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
