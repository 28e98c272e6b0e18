"""OpenID providers may be asked for more than an address and a name; processes of before still write rows."""

from django.db import migrations, models


def text(length, **more):
    """A column that an older process leaves out."""
    return models.CharField(blank=True, db_default="", default="", max_length=length, **more)


class Migration(migrations.Migration):
    """A column for scopes, and what stands in the others where a process does not know them yet."""

    dependencies = [("sso", "0009_sign_ins_keep_how_a_subject_is_named")]

    operations = [
        migrations.AddField("identityprovider", "more_scopes", text(255)),
        migrations.AlterField(
            "identityprovider",
            "protocol",
            models.CharField(
                choices=[("saml", "SAML 2.0"), ("oidc", "OpenID Connect")],
                db_default="saml",
                default="saml",
                max_length=4,
            ),
        ),
        migrations.AlterField("identityprovider", "issuer", text(512)),
        migrations.AlterField("identityprovider", "client_id", text(255)),
        migrations.AlterField(
            "identityprovider",
            "token_auth_method",
            text(
                20,
                choices=[
                    ("client_secret_basic", "In the Authorization header"),
                    ("client_secret_post", "In the request's body"),
                    ("none", "Without a secret"),
                ],
            ),
        ),
        migrations.AlterField("signin", "session_index", text(255)),
    ]
