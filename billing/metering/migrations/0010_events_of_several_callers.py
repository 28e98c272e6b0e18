"""Counts the uses of several callers of an organization in one statement."""

from django.db import migrations

from tenancy.rls import Function


class Migration(migrations.Migration):
    """As many calls of metering_record."""

    dependencies = [("metering", "0009_one_chain_of_periods")]

    operations = [
        Function(
            "metering_record_together(uuid, uuid[], uuid[], uuid[], text[], bigint[], text[])",
            """metering_record_together(
                p_organization uuid, p_ids uuid[], p_projects uuid[], p_keys uuid[], p_meters text[],
                p_quantities bigint[], p_end_users text[]
            ) RETURNS boolean LANGUAGE sql VOLATILE AS $$
                INSERT INTO metering_usageevent
                    (organization_id, id, project_id, key_id, meter, quantity, end_user, occurred_at)
                SELECT p_organization, e.*, now()
                  FROM unnest(p_ids, p_projects, p_keys, p_meters, p_quantities, p_end_users) AS e
                    ON CONFLICT DO NOTHING;
                SELECT true
            $$""",
        ),
    ]
