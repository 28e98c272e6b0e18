"""Identity providers may speak OpenID Connect, too."""

from django.db import migrations, models

from tenancy.rls import DefinerFunction

# It says whose the provider is and how to speak with it, and nothing else: the work happens in its own scope.
WHOSE = """sso_whose_provider(p_provider uuid) RETURNS TABLE (organization_id uuid, protocol text)
LANGUAGE sql STABLE AS $$
    SELECT p.organization_id, p.protocol::text FROM sso_identityprovider p WHERE p.id = p_provider
$$"""


class Migration(migrations.Migration):
    """The columns of OpenID providers; every provider so far speaks SAML."""

    dependencies = [("sso", "0004_sessions_end_with_their_provider")]

    operations = [
        migrations.AddField(
            "identityprovider",
            "protocol",
            models.CharField(choices=[("saml", "SAML 2.0"), ("oidc", "OpenID Connect")], default="saml", max_length=4),
        ),
        migrations.AlterField("identityprovider", "certificate_expires_at", models.DateTimeField(null=True)),
        migrations.AddField("identityprovider", "issuer", models.CharField(blank=True, default="", max_length=512)),
        migrations.AddField("identityprovider", "client_id", models.CharField(blank=True, default="", max_length=255)),
        migrations.AddField("identityprovider", "client_secret", models.BinaryField(null=True)),
        migrations.AddField(
            "identityprovider",
            "token_auth_method",
            models.CharField(
                blank=True,
                choices=[
                    ("client_secret_basic", "In the Authorization header"),
                    ("client_secret_post", "In the request's body"),
                    ("none", "Without a secret"),
                ],
                default="",
                max_length=20,
            ),
        ),
        migrations.AddField("identityprovider", "discovered", models.JSONField(null=True)),
        migrations.AddField("identityprovider", "discovered_at", models.DateTimeField(null=True)),
        migrations.AddField("identityprovider", "signing_keys", models.JSONField(null=True)),
        migrations.AddField("identityprovider", "signing_keys_at", models.DateTimeField(null=True)),
        DefinerFunction("sso_whose_provider(uuid)", WHOSE),
    ]
