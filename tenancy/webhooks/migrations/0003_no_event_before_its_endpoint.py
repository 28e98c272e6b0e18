"""Whether anybody listens is asked under a lock that a new endpoint waits for, so that none misses an event."""

from django.db import migrations

from tenancy.rls import Function


class Migration(migrations.Migration):
    """A lock of each organization's: events share it, a new endpoint has it alone."""

    dependencies = [("webhooks", "0002_the_engine")]

    operations = [
        Function(
            # Whoever has asked commits before an endpoint can be made; whoever asks later sees the endpoint. The look
            # is a statement after the lock, so that it sees what was committed while the lock was waited for.
            "webhooks_listens(uuid)",
            """webhooks_listens(p_organization uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                PERFORM pg_advisory_xact_lock_shared(hashtextextended('webhooks ' || p_organization, 0));
                RETURN EXISTS (
                    SELECT 1 FROM webhooks_endpoint e
                    WHERE e.organization_id = p_organization AND e.state IN ('active', 'paused')
                );
            END $$""",
        ),
        Function(
            "webhooks_begin_to_listen(uuid)",
            """webhooks_begin_to_listen(p_organization uuid) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                PERFORM pg_advisory_xact_lock(hashtextextended('webhooks ' || p_organization, 0));
            END $$""",
        ),
    ]
