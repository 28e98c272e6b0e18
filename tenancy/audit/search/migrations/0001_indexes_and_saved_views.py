"""Indexes that lead to whose events they are, what was done and to what; and the searches that are kept."""

import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models

from tenancy.rls import ForceRowSecurity

# Nothing is deployed yet: the table is empty, or a developer's. Each month's partition gets them when it is attached.
# The last holds what our staff did alone, so that other events do not pay for it.
INDEXES = """
    SET LOCAL lock_timeout = '5s';
    CREATE INDEX audit_by_actor ON audit_auditevent (organization_id, actor_id, id);
    CREATE INDEX audit_by_target ON audit_auditevent (organization_id, target_id, id);
    CREATE INDEX audit_by_action ON audit_auditevent (organization_id, action, id);
    CREATE INDEX audit_by_staff ON audit_auditevent (organization_id, id)
        WHERE body LIKE '%"actor":{"kind":"staff",%';
"""


class Migration(migrations.Migration):
    """Four indexes of the trail, and a table."""

    initial = True

    dependencies = [
        ("tenancy", "0010_reads_may_be_audited"),
        ("audit", "0005_people_have_keys"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunSQL(INDEXES),
        migrations.CreateModel(
            name="SavedView",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=64)),
                ("filters", models.JSONField()),
                ("is_shared", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"abstract": False, "base_manager_name": "objects"},
        ),
        ForceRowSecurity("audit_search_savedview"),
    ]
