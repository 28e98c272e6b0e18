"""Periods end by the real clock and overrides by their organization's own: nobody is due before the time."""

from django.db import migrations

from tenancy.rls import DefinerFunction


class Migration(migrations.Migration):
    """Whose override has expired, or whose period is over, at a real moment."""

    dependencies = [
        ("billing", "0011_disputes_taxes_and_cards_seen"),
        ("tenancy", "0007_clocks_that_are_ahead"),
    ]

    operations = [
        # The first bound on expires_at is for the index: where nobody's clock is ahead it is the real moment
        DefinerFunction(
            "billing_entitlements_due(timestamptz, integer)",
            """billing_entitlements_due(p_moment timestamptz, p_limit integer) RETURNS TABLE (organization_id uuid)
            LANGUAGE sql STABLE AS $$
                (SELECT o.organization_id FROM billing_entitlementoverride o
                    JOIN tenancy_organization t ON t.id = o.organization_id
                    WHERE o.ended_at IS NULL
                        AND o.expires_at <= p_moment
                            + coalesce((SELECT f.ahead FROM tenancy_furthest_ahead() f), interval '0')
                        AND o.expires_at <= p_moment + t.clock_ahead)
                UNION
                (SELECT t.id FROM tenancy_organization t WHERE t.period_end <= p_moment)
                LIMIT p_limit
            $$""",
            is_replacement=True,
        ),
    ]
