"""An organization may want its people to sign in by its identity provider alone."""

from django.db import migrations, models

from tenancy.rls import DefinerFunction


class Migration(migrations.Migration):
    """A column, and the list of somebody's organizations with it."""

    dependencies = [("tenancy", "0014_keys_may_set_up_sign_on")]

    operations = [
        migrations.AddField(
            model_name="organization",
            name="is_sso_required",
            field=models.BooleanField(db_default=False),
        ),
        migrations.RunSQL("DROP FUNCTION tenancy_memberships(uuid)", migrations.RunSQL.noop),
        DefinerFunction(
            "tenancy_memberships(uuid)",
            """tenancy_memberships(p_user uuid) RETURNS TABLE (
                organization_id uuid, slug text, name text, role text, is_mfa_required boolean,
                is_sso_required boolean, closed_at timestamptz
            ) LANGUAGE sql STABLE AS $$
                SELECT o.id, o.slug::text, o.name::text, m.role::text, o.is_mfa_required, o.is_sso_required, o.closed_at
                FROM tenancy_membership m JOIN tenancy_organization o ON o.id = m.organization_id
                WHERE m.user_id = p_user ORDER BY o.name, o.id
            $$""",
            is_replacement=True,
        ),
    ]
