"""Staff see whose Stripe's events are, for a page of them at once."""

from django.db import migrations

from tenancy.rls import DefinerFunction


class Migration(migrations.Migration):
    """One narrow question: whose are these customers?"""

    dependencies = [("billing", "0009_why_there_is_an_invoice")]

    operations = [
        DefinerFunction(
            "billing_owners_of_customers(text[])",
            """billing_owners_of_customers(p_customers text[])
            RETURNS TABLE (customer text, organization_id uuid, slug text)
            LANGUAGE sql STABLE AS $$
                SELECT a.stripe_customer_id, a.organization_id, o.slug
                FROM billing_billingaccount a JOIN tenancy_organization o ON o.id = a.organization_id
                WHERE a.stripe_customer_id = ANY (p_customers)
            $$""",
        ),
    ]
