"""An organization may say after how many hours its people sign in again."""

from django.db import migrations, models

from tenancy.rls import DefinerFunction


class Migration(migrations.Migration):
    """A column, and the list of somebody's organizations with it."""

    dependencies = [("tenancy", "0016_roles_in_projects")]

    operations = [
        migrations.AddField("organization", "session_hours", models.PositiveIntegerField(null=True)),
        migrations.RunSQL("DROP FUNCTION tenancy_memberships(uuid)", migrations.RunSQL.noop),
        DefinerFunction(
            "tenancy_memberships(uuid)",
            """tenancy_memberships(p_user uuid) RETURNS TABLE (
                organization_id uuid, slug text, name text, role text, is_mfa_required boolean,
                is_sso_required boolean, closed_at timestamptz, project_roles jsonb, session_hours integer
            ) LANGUAGE sql STABLE AS $$
                SELECT o.id, o.slug::text, o.name::text, m.role::text, o.is_mfa_required, o.is_sso_required,
                    o.closed_at, COALESCE((
                        SELECT jsonb_object_agg(p.slug, r.role)
                        FROM tenancy_projectrole r JOIN tenancy_project p ON p.id = r.project_id
                        WHERE r.membership_id = m.id AND p.archived_at IS NULL
                    ), '{}'), o.session_hours
                FROM tenancy_membership m JOIN tenancy_organization o ON o.id = m.organization_id
                WHERE m.user_id = p_user ORDER BY o.name, o.id
            $$""",
            is_replacement=True,
        ),
    ]
