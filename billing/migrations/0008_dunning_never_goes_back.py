"""The latest moment at which an organization's debts were looked at."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0007_overrides_wait_for_a_second_person"),
    ]

    operations = [
        migrations.AddField(
            model_name="dunning",
            name="seen_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
