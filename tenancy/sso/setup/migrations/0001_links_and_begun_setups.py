"""Links by which single sign-on is set up without an account, and providers that are being set up."""

import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity

# It says which organization and which link: what they hold is read in its own scope.
OF = """sso_setup_link_of(p_digest bytea) RETURNS TABLE (organization_id uuid, link_id uuid) LANGUAGE sql STABLE AS $$
    SELECT l.organization_id, l.id FROM sso_setup_setuplink l WHERE l.digest = p_digest
$$"""


class Migration(migrations.Migration):
    """The tables, behind the wall, and the question of whose a link is."""

    initial = True

    dependencies = [
        ("tenancy", "0014_keys_may_set_up_sign_on"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="SetupLink",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=120)),
                ("email", models.EmailField(blank=True, max_length=254)),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField()),
                ("browser_digest", models.BinaryField(max_length=32, null=True)),
                ("opened_at", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
                (
                    "made_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="ProviderSetup",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "vendor",
                    models.CharField(
                        choices=[
                            ("okta", "Okta"),
                            ("entra", "Microsoft Entra ID"),
                            ("google", "Google Workspace"),
                            ("onelogin", "OneLogin"),
                            ("jumpcloud", "JumpCloud"),
                            ("other", "Another identity provider"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "protocol",
                    models.CharField(choices=[("saml", "SAML 2.0"), ("oidc", "OpenID Connect")], max_length=8),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [models.Index(fields=["organization", "created_at"], name="sso_setup_of")],
            },
        ),
        ForceRowSecurity("sso_setup_setuplink"),
        ForceRowSecurity("sso_setup_providersetup"),
        DefinerFunction("sso_setup_link_of(bytea)", OF),
    ]
