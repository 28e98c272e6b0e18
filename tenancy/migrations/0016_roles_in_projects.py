"""Members may have a role in a project beside the one in the organization."""

import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity, SameOrganization

ROLES = [
    ("owner", "Owner"),
    ("admin", "Admin"),
    ("member", "Member"),
    ("viewer", "Viewer"),
    ("billing", "Billing"),
]


class Migration(migrations.Migration):
    """The table, behind the wall, and the list of somebody's organizations with it."""

    dependencies = [("tenancy", "0015_sign_on_may_be_required")]

    operations = [
        migrations.CreateModel(
            name="ProjectRole",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("role", models.CharField(choices=ROLES, max_length=16)),
                ("is_managed", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "membership",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.membership"
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.project"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "constraints": [models.UniqueConstraint(fields=("membership", "project"), name="project_role_once")],
            },
        ),
        ForceRowSecurity("tenancy_projectrole"),
        SameOrganization("tenancy_projectrole", "membership_id", "tenancy_membership"),
        SameOrganization("tenancy_projectrole", "project_id", "tenancy_project"),
        migrations.RunSQL("DROP FUNCTION tenancy_memberships(uuid)", migrations.RunSQL.noop),
        DefinerFunction(
            "tenancy_memberships(uuid)",
            """tenancy_memberships(p_user uuid) RETURNS TABLE (
                organization_id uuid, slug text, name text, role text, is_mfa_required boolean,
                is_sso_required boolean, closed_at timestamptz, project_roles jsonb
            ) LANGUAGE sql STABLE AS $$
                SELECT o.id, o.slug::text, o.name::text, m.role::text, o.is_mfa_required, o.is_sso_required,
                    o.closed_at,
                    COALESCE((
                        SELECT jsonb_object_agg(p.slug, r.role)
                        FROM tenancy_projectrole r JOIN tenancy_project p ON p.id = r.project_id
                        WHERE r.membership_id = m.id AND p.archived_at IS NULL
                    ), '{}')
                FROM tenancy_membership m JOIN tenancy_organization o ON o.id = m.organization_id
                WHERE m.user_id = p_user ORDER BY o.name, o.id
            $$""",
            is_replacement=True,
        ),
    ]
