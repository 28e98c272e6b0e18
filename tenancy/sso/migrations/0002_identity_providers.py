"""Identity providers, who is who to them, and every answer that they gave."""

import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity, SameOrganization

# They say which organization and nothing of it: the work happens in its own scope.
OF = """sso_provider_of(p_provider uuid) RETURNS TABLE (organization_id uuid) LANGUAGE sql STABLE AS $$
    SELECT p.organization_id FROM sso_identityprovider p WHERE p.id = p_provider
$$"""
FOR_DOMAIN = """sso_provider_for(p_domain text) RETURNS TABLE (provider_id uuid) LANGUAGE sql STABLE AS $$
    SELECT p.id FROM sso_verifieddomain d
    JOIN sso_identityprovider p ON p.organization_id = d.organization_id AND p.state = 'active'
    JOIN tenancy_organization o ON o.id = d.organization_id AND o.closed_at IS NULL
    WHERE d.domain = p_domain AND d.state IN ('verified', 'lost')
    ORDER BY p.id LIMIT 1
$$"""


class Migration(migrations.Migration):
    """The tables, behind the wall, and the two questions that look over it."""

    dependencies = [
        ("sso", "0001_domains_and_their_proof"),
        ("tenancy", "0014_keys_may_set_up_sign_on"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="IdentityProvider",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=120)),
                (
                    "state",
                    models.CharField(
                        choices=[("draft", "Not in use yet"), ("active", "In use"), ("off", "Switched off")],
                        default="draft",
                        max_length=8,
                    ),
                ),
                ("metadata", models.TextField()),
                ("entity_id", models.CharField(max_length=1024)),
                ("certificate_expires_at", models.DateTimeField()),
                ("email_attribute", models.CharField(blank=True, max_length=255)),
                ("name_attribute", models.CharField(blank=True, max_length=255)),
                (
                    "default_role",
                    models.CharField(
                        choices=[
                            ("owner", "Owner"),
                            ("admin", "Admin"),
                            ("member", "Member"),
                            ("viewer", "Viewer"),
                            ("billing", "Billing"),
                        ],
                        default="viewer",
                        max_length=16,
                    ),
                ),
                ("is_unsolicited_allowed", models.BooleanField(default=False)),
                ("key", models.BinaryField()),
                ("certificate", models.TextField()),
                ("version", models.PositiveIntegerField(default=1)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("tested_at", models.DateTimeField(null=True)),
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
            name="ExternalIdentity",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("subject", models.CharField(max_length=1024)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("last_used_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="sso.identityprovider"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "constraints": [models.UniqueConstraint(fields=("provider", "subject"), name="sso_subject_once")],
            },
        ),
        migrations.CreateModel(
            name="SignIn",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("provider_version", models.PositiveIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("answered", "Waits for the browser"),
                            ("done", "Signed in"),
                            ("tested", "Tested"),
                            ("refused", "Refused"),
                        ],
                        max_length=8,
                    ),
                ),
                ("code", models.CharField(blank=True, max_length=32)),
                ("detail", models.CharField(blank=True, max_length=500)),
                ("in_response_to", models.CharField(blank=True, max_length=255)),
                ("assertion_id", models.CharField(max_length=255, null=True)),
                ("subject", models.CharField(blank=True, max_length=1024)),
                ("attributes", models.JSONField(default=dict)),
                ("email", models.CharField(blank=True, max_length=254)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField()),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="sso.identityprovider"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [models.Index(fields=["provider", "-id"], name="sso_sign_in_of")],
                "constraints": [
                    models.UniqueConstraint(fields=("provider", "assertion_id"), name="sso_assertion_once")
                ],
            },
        ),
        ForceRowSecurity("sso_identityprovider"),
        ForceRowSecurity("sso_externalidentity"),
        ForceRowSecurity("sso_signin"),
        SameOrganization("sso_externalidentity", "provider_id", "sso_identityprovider"),
        SameOrganization("sso_signin", "provider_id", "sso_identityprovider"),
        DefinerFunction("sso_provider_of(uuid)", OF),
        DefinerFunction("sso_provider_for(text)", FOR_DOMAIN),
    ]
