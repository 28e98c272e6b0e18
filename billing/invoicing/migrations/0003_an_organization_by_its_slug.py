"""Lets a command name the organization whose period it proves."""

from django.db import migrations

from tenancy.rls import DefinerFunction


class Migration(migrations.Migration):
    """One function."""

    dependencies = [("invoicing", "0002_what_an_invoice_says_stays")]

    operations = [
        DefinerFunction(
            "invoicing_organization(text)",
            """invoicing_organization(p_slug text) RETURNS TABLE (organization_id uuid) LANGUAGE sql STABLE AS $$
                SELECT o.id FROM tenancy_organization o WHERE o.slug = p_slug
            $$""",
        ),
    ]
