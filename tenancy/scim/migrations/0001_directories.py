"""Directories, their tokens, the users and groups that they keep, and the log of what they sent."""

import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity, SameOrganization

# Whose a token is. One that is over, of a directory that is off or of a closed organization finds nothing.
FIND = """scim_find_token(p_digest bytea) RETURNS TABLE (
    token_id uuid, directory_id uuid, organization_id uuid, name text, kind text, hint text, last_used_at timestamptz
) LANGUAGE sql STABLE AS $$
    SELECT t.id, d.id, d.organization_id, d.name::text, d.kind::text, t.hint::text, t.last_used_at
    FROM scim_directorytoken t
    JOIN scim_directory d ON d.id = t.directory_id AND d.is_on
    JOIN tenancy_organization o ON o.id = t.organization_id AND o.closed_at IS NULL
    WHERE t.digest = p_digest AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())
$$"""
OLD = """scim_exchanges_old(p_kept interval, p_limit integer) RETURNS TABLE (organization_id uuid)
LANGUAGE sql STABLE AS $$
    SELECT DISTINCT e.organization_id FROM scim_exchange e WHERE e.created_at < now() - p_kept LIMIT p_limit
$$"""


class Migration(migrations.Migration):
    """The tables, behind the wall, and the two questions that look over it."""

    initial = True

    dependencies = [
        ("tenancy", "0015_sign_on_may_be_required"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Directory",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=120)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("okta", "Okta"),
                            ("entra", "Microsoft Entra ID"),
                            ("google", "Google Workspace"),
                            ("onelogin", "OneLogin"),
                            ("jumpcloud", "JumpCloud"),
                            ("generic", "Another one"),
                        ],
                        default="generic",
                        max_length=16,
                    ),
                ),
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
                ("is_on", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("last_request_at", models.DateTimeField(null=True)),
                (
                    "keys_go_to",
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
            name="DirectoryGroup",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("display_name", models.CharField(max_length=255)),
                ("external_id", models.CharField(blank=True, max_length=255)),
                ("data", models.JSONField(default=dict)),
                ("revision", models.PositiveIntegerField(default=1)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("changed_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "directory",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="scim.directory",
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
            name="DirectoryToken",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("hint", models.CharField(max_length=16)),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
                ("last_used_at", models.DateTimeField(null=True)),
                (
                    "directory",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="scim.directory"
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
            name="DirectoryUser",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("user_name", models.CharField(max_length=320)),
                ("external_id", models.CharField(blank=True, max_length=255)),
                ("is_active", models.BooleanField(default=True)),
                ("email", models.CharField(blank=True, max_length=254)),
                ("last_role", models.CharField(blank=True, max_length=16)),
                ("data", models.JSONField(default=dict)),
                ("revision", models.PositiveIntegerField(default=1)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("changed_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "directory",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="scim.directory",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
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
            },
        ),
        migrations.CreateModel(
            name="DirectoryGroupMember",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "group",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="scim.directorygroup",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "subgroup",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="scim.directorygroup",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="scim.directoryuser",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Exchange",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("read", "Read"), ("write", "Changed"), ("failure", "Refused")], max_length=8
                    ),
                ),
                ("token_hint", models.CharField(blank=True, max_length=16)),
                ("method", models.CharField(max_length=8)),
                ("path", models.CharField(max_length=500)),
                ("status", models.PositiveSmallIntegerField()),
                ("scim_type", models.CharField(blank=True, max_length=32)),
                ("request", models.JSONField(null=True)),
                ("answer", models.JSONField(null=True)),
                ("resource_type", models.CharField(blank=True, max_length=32)),
                ("resource_id", models.CharField(blank=True, max_length=64)),
                ("took_ms", models.PositiveIntegerField(default=0)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "directory",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="scim.directory",
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
        migrations.AddIndex(
            model_name="directorygroup",
            index=models.Index(fields=["directory", "id"], name="scim_group_page"),
        ),
        migrations.AddConstraint(
            model_name="directorygroup",
            constraint=models.UniqueConstraint(
                models.F("directory"),
                django.db.models.functions.text.Lower("display_name"),
                name="scim_group_name_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="directorygroup",
            constraint=models.UniqueConstraint(
                condition=models.Q(("external_id", ""), _negated=True),
                fields=("directory", "external_id"),
                name="scim_group_external_once",
            ),
        ),
        migrations.AddIndex(
            model_name="directoryuser",
            index=models.Index(fields=["directory", "id"], name="scim_user_page"),
        ),
        migrations.AddConstraint(
            model_name="directoryuser",
            constraint=models.UniqueConstraint(
                models.F("directory"), django.db.models.functions.text.Lower("user_name"), name="scim_user_name_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="directoryuser",
            constraint=models.UniqueConstraint(
                condition=models.Q(("external_id", ""), _negated=True),
                fields=("directory", "external_id"),
                name="scim_user_external_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="directoryuser",
            constraint=models.UniqueConstraint(
                condition=models.Q(("user__isnull", False)), fields=("directory", "user"), name="scim_person_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="directorygroupmember",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("subgroup__isnull", True), ("user__isnull", False)),
                    models.Q(("subgroup__isnull", False), ("user__isnull", True)),
                    _connector="OR",
                ),
                name="scim_member_is_one",
            ),
        ),
        migrations.AddConstraint(
            model_name="directorygroupmember",
            constraint=models.UniqueConstraint(fields=("group", "user"), name="scim_member_user_once"),
        ),
        migrations.AddConstraint(
            model_name="directorygroupmember",
            constraint=models.UniqueConstraint(fields=("group", "subgroup"), name="scim_member_group_once"),
        ),
        migrations.AddIndex(
            model_name="exchange",
            index=models.Index(fields=["directory", "-id"], name="scim_exchange_of"),
        ),
        migrations.AddIndex(
            model_name="exchange",
            index=models.Index(fields=["directory", "kind", "-id"], name="scim_exchange_kind"),
        ),
        migrations.AddIndex(
            model_name="exchange",
            index=models.Index(fields=["created_at"], name="scim_exchange_old"),
        ),
        ForceRowSecurity("scim_directory"),
        ForceRowSecurity("scim_directorytoken"),
        ForceRowSecurity("scim_directoryuser"),
        ForceRowSecurity("scim_directorygroup"),
        ForceRowSecurity("scim_directorygroupmember"),
        ForceRowSecurity("scim_exchange"),
        SameOrganization("scim_directorytoken", "directory_id", "scim_directory"),
        SameOrganization("scim_directoryuser", "directory_id", "scim_directory"),
        SameOrganization("scim_directorygroup", "directory_id", "scim_directory"),
        SameOrganization("scim_directorygroupmember", "group_id", "scim_directorygroup"),
        SameOrganization("scim_directorygroupmember", "subgroup_id", "scim_directorygroup"),
        SameOrganization("scim_directorygroupmember", "user_id", "scim_directoryuser"),
        SameOrganization("scim_exchange", "directory_id", "scim_directory"),
        DefinerFunction("scim_find_token(bytea)", FIND),
        DefinerFunction("scim_exchanges_old(interval, integer)", OLD),
    ]
