"""Domains that organizations prove to be theirs, who looks them up, and whose one is."""

import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity

# What is taken is put off first: a look that kills its worker is not begun again at once. Organizations in turns, so
# that fifty domains of one wait for others'. Of a backlog the oldest thousand are looked through, which are twenty
# organizations' at least.
CLAIM = """sso_domains_claim(p_slots integer, p_of_one integer, p_again interval)
RETURNS TABLE (domain_id uuid, organization_id uuid, turn uuid, domain text, token text)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH due AS (
        SELECT d.id, row_number() OVER (PARTITION BY d.organization_id ORDER BY d.due_at, d.id) AS of_one
        FROM (
            SELECT q.id, q.organization_id, q.due_at FROM sso_verifieddomain q
            JOIN tenancy_organization o ON o.id = q.organization_id AND o.closed_at IS NULL
            WHERE q.due_at <= v_now ORDER BY q.due_at LIMIT 1000
        ) d
    ), chosen AS (
        SELECT d.id FROM sso_verifieddomain d JOIN due ON due.id = d.id AND due.of_one <= p_of_one
        WHERE d.due_at <= v_now
        ORDER BY d.due_at, d.id LIMIT p_slots FOR NO KEY UPDATE OF d SKIP LOCKED
    )
    UPDATE sso_verifieddomain d SET turn = uuidv7(), turn_at = v_now, due_at = v_now + p_again
    FROM chosen c WHERE c.id = d.id
    RETURNING d.id, d.organization_id, d.turn, d.domain::text, d.token::text;
END $$"""
# Says whose a domain is, never who else would like to have it.
HOLDER = """sso_domain_holder(p_domain text) RETURNS TABLE (domain_id uuid, organization_id uuid)
LANGUAGE sql STABLE AS $$
    SELECT d.id, d.organization_id FROM sso_verifieddomain d
    WHERE d.domain = p_domain AND d.state IN ('verified', 'lost')
$$"""


class Migration(migrations.Migration):
    """The table, behind the wall, and the two questions that look over it."""

    initial = True

    dependencies = [
        ("tenancy", "0014_keys_may_set_up_sign_on"),
    ]

    operations = [
        migrations.CreateModel(
            name="VerifiedDomain",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("domain", models.CharField(max_length=253)),
                ("token", models.CharField(max_length=64)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Waiting for the record"),
                            ("verified", "Verified"),
                            ("lost", "Record lost"),
                        ],
                        default="pending",
                        max_length=8,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("verified_at", models.DateTimeField(null=True)),
                ("missing_since", models.DateTimeField(null=True)),
                ("lost_at", models.DateTimeField(null=True)),
                ("last_checked_at", models.DateTimeField(null=True)),
                ("last_code", models.CharField(blank=True, max_length=16)),
                ("last_result", models.CharField(blank=True, max_length=600)),
                ("last_seen", models.JSONField(default=list)),
                ("turn", models.UUIDField(null=True)),
                ("turn_at", models.DateTimeField(null=True)),
                ("due_at", models.DateTimeField(null=True)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [
                    models.Index(
                        condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="sso_domain_due"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("organization", "domain"), name="sso_domain_of_organization"),
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ["verified", "lost"])),
                        fields=("domain",),
                        name="sso_domain_held_once",
                    ),
                ],
            },
        ),
        ForceRowSecurity("sso_verifieddomain"),
        DefinerFunction("sso_domains_claim(integer, integer, interval)", CLAIM),
        DefinerFunction("sso_domain_holder(text)", HOLDER),
    ]
