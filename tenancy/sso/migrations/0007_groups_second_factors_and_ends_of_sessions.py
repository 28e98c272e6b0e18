"""Providers name groups, ask for second factors, and say how long a session lasts."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Three columns."""

    dependencies = [("sso", "0006_sign_ins_name_the_providers_session")]

    operations = [
        migrations.AddField(
            "identityprovider",
            "groups_attribute",
            models.CharField(blank=True, default="", db_default="", max_length=255),
        ),
        migrations.AddField("identityprovider", "is_mfa_trusted", models.BooleanField(default=False, db_default=False)),
        migrations.AddField("signin", "session_ends_at", models.DateTimeField(null=True)),
    ]
