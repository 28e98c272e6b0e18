"""The keys of people, and what the pseudonyms in events stand for."""

import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import ForceRowSecurity, SameOrganization


class Migration(migrations.Migration):
    """Two tables behind the wall."""

    dependencies = [
        ("audit", "0004_rows_only_through_append"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditPerson",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("organization_id", models.UUIDField()),
                ("kind", models.TextField()),
                ("subject_id", models.TextField()),
                ("key", models.BinaryField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [models.Index(fields=["organization_id", "kind", "subject_id"], name="audit_person_of")],
            },
        ),
        migrations.CreateModel(
            name="AuditIdentifier",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("organization_id", models.UUIDField()),
                ("pseudonym", models.UUIDField()),
                ("field", models.TextField()),
                ("value", models.TextField()),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="audit.auditperson"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [models.Index(fields=["organization_id", "pseudonym"], name="audit_identifier_of")],
            },
        ),
        ForceRowSecurity("audit_auditperson"),
        ForceRowSecurity("audit_auditidentifier"),
        SameOrganization("audit_auditidentifier", "person_id", "audit_auditperson"),
        # a value stays what it was: it goes with its person
        migrations.RunSQL(
            "REVOKE UPDATE ON audit_auditidentifier FROM capsule_app",
            "GRANT UPDATE ON audit_auditidentifier TO capsule_app",
        ),
    ]
