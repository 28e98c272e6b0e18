"""Row security on top-ups, and who has one to pay."""

from django.db import migrations

from tenancy.rls import DefinerFunction, ForceRowSecurity


class Migration(migrations.Migration):
    """The wall."""

    dependencies = [("credits", "0003_top_ups")]

    operations = [
        ForceRowSecurity("credits_autotopup"),
        ForceRowSecurity("credits_topup"),
        DefinerFunction(
            "credits_top_ups_due(timestamptz, integer)",
            """credits_top_ups_due(p_now timestamptz, p_limit integer)
            RETURNS TABLE (organization_id uuid, top_up_id uuid) LANGUAGE sql STABLE AS $$
                SELECT t.organization_id, t.id FROM credits_topup t
                JOIN tenancy_organization o ON o.id = t.organization_id AND o.closed_at IS NULL
                WHERE t.state = 'requested' AND t.due_at <= p_now ORDER BY t.due_at LIMIT p_limit
            $$""",
        ),
    ]
