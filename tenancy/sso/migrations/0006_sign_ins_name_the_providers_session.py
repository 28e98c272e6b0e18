"""A sign-in remembers what the identity provider calls its own session: by that name it is ended."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """A column and its index; sign-ins so far named none."""

    dependencies = [("sso", "0005_providers_that_speak_openid_connect")]

    operations = [
        migrations.AddField("signin", "session_index", models.CharField(blank=True, default="", max_length=255)),
        migrations.AddIndex(
            "signin",
            models.Index(
                condition=models.Q(("session_index", ""), _negated=True),
                fields=["provider", "session_index"],
                name="sso_sign_in_session",
            ),
        ),
    ]
