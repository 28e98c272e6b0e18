"""Says of two scopes of API keys all that they open by now."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenancy", "0017_sessions_may_be_short"),
    ]

    operations = [
        migrations.AlterField(
            model_name="apikey",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[
                        ("memory:read", "Read and recall memories"),
                        ("memory:write", "Ingest, seal, import and change memories"),
                        ("memory:delete", "Delete memories and end users"),
                        ("org:read", "Read the organization, its projects, members, keys and usage"),
                        ("org:write", "Change projects, members and invitations"),
                        ("keys:write", "Create, rotate and revoke API keys"),
                        ("audit:read", "Read the audit log"),
                        ("audit:export", "Export the audit log, and send it to stores of yours"),
                        ("audit:erase", "Erase people from the audit log, for good"),
                        ("billing:read", "Read the plan, invoices and credits"),
                        ("billing:write", "Change the plan and caps, and pay"),
                        ("webhooks:read", "Read webhook endpoints and their logs"),
                        ("webhooks:write", "Change webhook endpoints, and send again"),
                        (
                            "sso:read",
                            "Read single sign-on: domains, identity providers, directories, and who came by them",
                        ),
                        ("sso:manage", "Set up single sign-on: domains, identity providers, groups and directories"),
                    ],
                    max_length=32,
                ),
                size=None,
            ),
        ),
    ]
