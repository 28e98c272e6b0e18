"""Which groups give which roles, and in which groups people are."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models

from tenancy.rls import ForceRowSecurity, SameOrganization

ROLES = [
    ("owner", "Owner"),
    ("admin", "Admin"),
    ("member", "Member"),
    ("viewer", "Viewer"),
    ("billing", "Billing"),
]


class Migration(migrations.Migration):
    """The two tables, behind the wall."""

    initial = True
    dependencies = [
        ("tenancy", "0015_sign_on_may_be_required"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="GroupRole",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("group", models.CharField(max_length=255)),
                ("role", models.CharField(choices=ROLES, max_length=16)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.project"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "group", "project"), name="group_role_once", nulls_distinct=False
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="PersonGroups",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("source_id", models.UUIDField()),
                ("source_name", models.CharField(max_length=120)),
                (
                    "groups",
                    django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=255), size=None),
                ),
                ("default_role", models.CharField(choices=ROLES, max_length=16)),
                ("note", models.CharField(blank=True, max_length=200)),
                ("seen_at", models.DateTimeField(default=django.utils.timezone.now)),
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
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [models.Index(fields=["organization", "source_id"], name="groups_of_source")],
                "constraints": [
                    models.UniqueConstraint(fields=("organization", "user", "source_id"), name="groups_of_person_once")
                ],
            },
        ),
        ForceRowSecurity("groups_grouprole"),
        ForceRowSecurity("groups_persongroups"),
        SameOrganization("groups_grouprole", "project_id", "tenancy_project"),
    ]
