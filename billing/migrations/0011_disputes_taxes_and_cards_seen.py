"""Disputes among the documents, the tax in an invoice, and when it was last seen whether there is a card."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0010_whose_events_they_are"),
    ]

    operations = [
        migrations.AddField(
            model_name="billingaccount",
            name="method_seen_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="document",
            name="tax",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AlterField(
            model_name="document",
            name="kind",
            field=models.CharField(
                choices=[
                    ("invoice", "Invoice"),
                    ("credit_note", "Credit note"),
                    ("refund", "Refund"),
                    ("dispute", "Dispute"),
                ],
                max_length=16,
            ),
        ),
    ]
