"""Who is a customer at all, for looks over everybody's use."""

from django.db import migrations

from tenancy.rls import DefinerFunction


class Migration(migrations.Migration):
    """One narrow question."""

    dependencies = [("billing", "0005_debts_are_by_card_or_transfer")]

    operations = [
        DefinerFunction(
            "billing_open_organizations(uuid, integer)",
            """billing_open_organizations(p_after uuid, p_limit integer) RETURNS TABLE (organization_id uuid)
            LANGUAGE sql STABLE AS $$
                SELECT o.id FROM tenancy_organization o WHERE o.closed_at IS NULL AND o.id > p_after
                ORDER BY o.id LIMIT p_limit
            $$""",
        ),
    ]
