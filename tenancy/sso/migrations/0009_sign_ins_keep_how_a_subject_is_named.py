"""A sign-in keeps how its subject is named: a logout must name it alike."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """A column; what came before is named by its text alone."""

    dependencies = [("sso", "0008_metadata_by_url_spare_keys_and_ends_of_certificates")]

    operations = [migrations.AddField("signin", "name_id", models.JSONField(null=True))]
