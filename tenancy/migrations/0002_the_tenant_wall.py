"""Row security on every table of the room, and the narrow functions that look across organizations."""

from django.db import migrations

from tenancy.rls import DefinerFunction, ForceRowSecurity, Function


class Migration(migrations.Migration):
    """The wall."""

    dependencies = [("tenancy", "0001_people_and_organizations")]

    operations = [
        ForceRowSecurity("tenancy_organization", column="id"),
        ForceRowSecurity("tenancy_project"),
        ForceRowSecurity("tenancy_membership"),
        ForceRowSecurity("tenancy_invitation"),
        ForceRowSecurity("tenancy_apikey"),
        Function(
            "tenancy_enter(uuid)",
            """tenancy_enter(p_organization uuid) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                PERFORM set_config('app.organization_id', p_organization::text, true);
                RETURN p_organization;
            END $$""",
        ),
        DefinerFunction(
            "tenancy_find_key(bytea)",
            # The last use is kept to the minute, so a busy key costs one write a minute and not one a request.
            """tenancy_find_key(p_digest bytea) RETURNS TABLE (
                key_id uuid, organization_id uuid, project_id uuid, project_slug text, name text, hint text,
                scopes text[], key_requests_per_minute int, organization_requests_per_minute int, allowed_cidrs text[],
                cors_origins text[], expires_at timestamptz
            ) LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                UPDATE tenancy_apikey k SET last_used_at = now()
                WHERE k.digest = p_digest AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
                    AND (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute');
                RETURN QUERY
                SELECT k.id, k.organization_id, k.project_id, p.slug::text, k.name::text, k.hint::text,
                    k.scopes::text[], k.requests_per_minute, o.requests_per_minute, k.allowed_cidrs::text[],
                    p.cors_origins::text[], k.expires_at
                FROM tenancy_apikey k
                JOIN tenancy_project p ON p.id = k.project_id AND p.archived_at IS NULL
                JOIN tenancy_organization o ON o.id = k.organization_id AND o.closed_at IS NULL
                WHERE k.digest = p_digest AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now());
            END $$""",
        ),
        DefinerFunction(
            "tenancy_memberships(uuid)",
            """tenancy_memberships(p_user uuid) RETURNS TABLE (
                organization_id uuid, slug text, name text, role text, is_mfa_required boolean, closed_at timestamptz
            ) LANGUAGE sql STABLE AS $$
                SELECT o.id, o.slug::text, o.name::text, m.role::text, o.is_mfa_required, o.closed_at
                FROM tenancy_membership m JOIN tenancy_organization o ON o.id = m.organization_id
                WHERE m.user_id = p_user ORDER BY o.name, o.id
            $$""",
        ),
        DefinerFunction(
            "tenancy_invitations_of(text)",
            """tenancy_invitations_of(p_email text) RETURNS TABLE (organization_id uuid, invitation_id uuid)
            LANGUAGE sql STABLE AS $$
                SELECT i.organization_id, i.id FROM tenancy_invitation i
                JOIN tenancy_organization o ON o.id = i.organization_id AND o.closed_at IS NULL
                WHERE lower(i.email) = lower(p_email) AND i.accepted_at IS NULL AND i.revoked_at IS NULL
                    AND i.expires_at > now() ORDER BY i.id
            $$""",
        ),
        DefinerFunction(
            "tenancy_organizations_closed_before(timestamptz, integer)",
            """tenancy_organizations_closed_before(p_moment timestamptz, p_limit integer)
            RETURNS TABLE (organization_id uuid) LANGUAGE sql STABLE AS $$
                SELECT id FROM tenancy_organization WHERE closed_at < p_moment ORDER BY closed_at LIMIT p_limit
            $$""",
        ),
        migrations.RunSQL(
            # serves the two searches across organizations that have no index of their own yet
            "CREATE INDEX tenancy_invitation_email ON tenancy_invitation (lower(email)) "
            "WHERE accepted_at IS NULL AND revoked_at IS NULL;"
            "CREATE INDEX tenancy_organization_closed ON tenancy_organization (closed_at) WHERE closed_at IS NOT NULL;",
            "DROP INDEX tenancy_invitation_email; DROP INDEX tenancy_organization_closed;",
        ),
    ]
