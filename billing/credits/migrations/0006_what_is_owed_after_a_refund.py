"""An account for what was spent of credits whose payment was given back, and the movements around it."""

from django.db import migrations, models

KINDS = [
    ("paid", "Paid in"),
    ("promotional", "Given as a promotion"),
    ("adjustment", "Given as an adjustment"),
    ("balance", "Balance"),
    ("burned", "Burned"),
    ("expired", "Expired"),
    ("voided", "Voided"),
    ("owed", "Owed"),
]
MOVEMENTS = [
    ("grant", "Granted"),
    ("burn", "Burned"),
    ("expiry", "Expired"),
    ("void", "Voided"),
    ("refund", "Taken back for a refund"),
    ("refund_failed", "Given back after a refund that failed"),
    ("repayment", "Paid what was owed"),
]


class Migration(migrations.Migration):
    """What is owed is below zero, or nothing."""

    dependencies = [("credits", "0005_credits_pay_invoices")]

    operations = [
        migrations.AlterField("account", "kind", models.CharField(choices=KINDS, max_length=16)),
        migrations.AlterField("transaction", "kind", models.CharField(choices=MOVEMENTS, max_length=16)),
        migrations.RemoveConstraint("account", "credits_never_overspent"),
        migrations.AddConstraint(
            "account",
            models.CheckConstraint(
                condition=models.Q(kind__in=["paid", "promotional", "adjustment"])
                | models.Q(kind="owed", balance__lte=0)
                | (~models.Q(kind="owed") & models.Q(balance__gte=0)),
                name="credits_never_overspent",
            ),
        ),
    ]
