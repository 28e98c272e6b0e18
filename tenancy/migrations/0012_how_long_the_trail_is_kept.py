"""Plans differ in how many months of the audit trail they keep."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """A limit; the database's default is the free plan's."""

    dependencies = [
        ("tenancy", "0011_one_way_to_find_a_key"),
    ]

    operations = [
        migrations.AddField(
            model_name="organization",
            name="audit_retention_months",
            field=models.PositiveIntegerField(db_default=3),
        ),
    ]
