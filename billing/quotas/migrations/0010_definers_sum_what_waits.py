"""Tidying up deletes as capsule_definer, and the trigger that sums what waits runs as whoever deletes."""

from django.db import migrations


class Migration(migrations.Migration):
    """Let it."""

    dependencies = [("quotas", "0009_more_writes_wait_within_a_limit")]

    operations = [
        migrations.RunSQL(
            "GRANT EXECUTE ON FUNCTION quotas_add_parked(uuid, bigint, bigint) TO capsule_definer",
            "REVOKE EXECUTE ON FUNCTION quotas_add_parked(uuid, bigint, bigint) FROM capsule_definer",
        )
    ]
