"""Records the audit events of several callers of an organization in one statement."""

from django.db import migrations

from tenancy.rls import Function


class Migration(migrations.Migration):
    """As many calls of audit_record."""

    dependencies = [("audit", "0003_nobody_deletes_the_trail")]

    operations = [
        Function(
            "audit_record_together(uuid, uuid[], text[], text[], text[], text[], text[])",
            """audit_record_together(
                p_organization uuid, p_ids uuid[], p_actions text[], p_actors text[], p_targets text[],
                p_contexts text[], p_metadata text[]
            ) RETURNS boolean LANGUAGE sql VOLATILE AS $$
                INSERT INTO audit_auditevent
                    (organization_id, id, action, actor, target, context, metadata, occurred_at)
                SELECT p_organization, e.id, e.action, e.actor::jsonb, e.target::jsonb, e.context::jsonb,
                       e.metadata::jsonb, now()
                  FROM unnest(p_ids, p_actions, p_actors, p_targets, p_contexts, p_metadata)
                       AS e (id, action, actor, target, context, metadata);
                SELECT true
            $$""",
        ),
    ]
