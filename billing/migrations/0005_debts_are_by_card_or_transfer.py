"""Invoices that are paid by transfer have a date and terms of their own."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0004_debts_and_dunning"),
    ]

    operations = [
        migrations.AddField(
            model_name="debt",
            name="is_by_card",
            field=models.BooleanField(db_default=True),
        ),
    ]
