"""Each machine that spools usage says up to when all of it is stored: counters must not be settled past that."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """The table."""

    dependencies = [("metering", "0009_one_chain_of_periods")]

    operations = [
        migrations.CreateModel(
            name="SpoolMachine",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("stored_until", models.DateTimeField()),
            ],
        ),
    ]
