"""Ties capsules, sessions and statistics to projects of their own organization; turns have no part in the check."""

from django.db import migrations

from tenancy.rls import SameOrganization


class Migration(migrations.Migration):
    """Three references stay inside their organization whoever writes them."""

    dependencies = [
        ("memory", "0005_common_words_and_another_model"),
        ("tenancy", "0003_keys_stay_under_their_parents"),
    ]

    operations = [
        SameOrganization("memory_capsule", "project_id", "tenancy_project"),
        SameOrganization("memory_searchstatistics", "project_id", "tenancy_project"),
        SameOrganization("memory_session", "project_id", "tenancy_project"),
    ]
