"""Counts of refused attempts, exact when several count at once, of a bounded number of sources."""

import django.db.models.deletion
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity, Function

COLUMNS = [
    ("id", models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False)),
    ("hour", models.DateTimeField()),
    ("action", models.CharField(max_length=64)),
    ("source", models.CharField(blank=True, max_length=64)),
    ("count", models.BigIntegerField()),
    ("actor", models.JSONField()),
    ("target", models.JSONField()),
    (
        "organization",
        models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"),
    ),
]


class Migration(migrations.Migration):
    """The table, the wall, and the one way to count."""

    initial = True

    dependencies = [("tenancy", "0009_keys_may_export_the_trail")]

    operations = [
        migrations.CreateModel(
            name="AttemptCount",
            fields=COLUMNS,
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [models.Index(fields=["hour"], name="attempts_by_hour")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "hour", "action", "source"), name="attempts_counted_once"
                    )
                ],
            },
        ),
        ForceRowSecurity("audit_attempts_attemptcount"),
        Function(
            # How often it was in the hour, this time included; and whether the source is counted by itself. Of new
            # sources one after the other is let in: that is the bound of an hour's rows.
            "audit_count_attempts(uuid, timestamptz, text, text, bigint, integer, jsonb, jsonb)",
            """audit_count_attempts(
                p_organization uuid, p_hour timestamptz, p_action text, p_source text, p_times bigint, p_most integer,
                p_actor jsonb, p_target jsonb
            ) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
            DECLARE
                total bigint;
            BEGIN
                UPDATE audit_attempts_attemptcount c SET count = c.count + p_times
                WHERE c.organization_id = p_organization AND c.hour = p_hour AND c.action = p_action
                    AND c.source = p_source
                RETURNING c.count INTO total;
                IF FOUND THEN
                    RETURN total;
                END IF;
                PERFORM pg_advisory_xact_lock(hashtextextended(p_organization || 'attempts' || p_hour, 0));
                IF p_source <> '' AND p_most <= (
                    SELECT count(*) FROM audit_attempts_attemptcount c
                    WHERE c.organization_id = p_organization AND c.hour = p_hour AND c.source <> ''
                ) THEN
                    p_source := '';
                END IF;
                INSERT INTO audit_attempts_attemptcount AS c
                    (id, organization_id, hour, action, source, count, actor, target)
                VALUES (uuidv7(), p_organization, p_hour, p_action, p_source, p_times, p_actor, p_target)
                ON CONFLICT (organization_id, hour, action, source) DO UPDATE SET count = c.count + p_times
                RETURNING c.count INTO total;
                RETURN total;
            END $$""",
        ),
        DefinerFunction(
            # Whose hours are over.
            "audit_attempts_before(timestamptz, integer)",
            """audit_attempts_before(p_before timestamptz, p_limit integer) RETURNS TABLE (organization_id uuid)
            LANGUAGE sql STABLE AS $$
                SELECT DISTINCT c.organization_id FROM audit_attempts_attemptcount c WHERE c.hour < p_before
                LIMIT p_limit
            $$""",
        ),
    ]
