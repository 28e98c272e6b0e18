"""Row security on stored answers, and the function that forgets the old ones of every organization."""

from django.db import migrations

from tenancy.rls import DefinerFunction, ForceRowSecurity


class Migration(migrations.Migration):
    """The wall."""

    dependencies = [("api", "0001_idempotency_keys"), ("tenancy", "0002_the_tenant_wall")]

    operations = [
        ForceRowSecurity("api_idempotencykey"),
        DefinerFunction(
            "api_purge_idempotency_keys(timestamptz, integer)",
            """api_purge_idempotency_keys(p_before timestamptz, p_limit integer) RETURNS TABLE (purged bigint)
            LANGUAGE sql VOLATILE AS $$
                WITH gone AS (
                    DELETE FROM api_idempotencykey WHERE id IN (
                        SELECT id FROM api_idempotencykey WHERE created_at < p_before
                        ORDER BY created_at LIMIT p_limit FOR UPDATE SKIP LOCKED
                    ) RETURNING 1
                ) SELECT count(*) FROM gone
            $$""",
        ),
    ]
