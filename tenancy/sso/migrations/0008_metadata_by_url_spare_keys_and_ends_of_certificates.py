"""Providers have metadata that is fetched, a second key of ours, and certificates whose end is told in time."""

import django.db.models.deletion
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity, SameOrganization

# What is taken is put off first: a fetch that kills its worker is not begun again at once.
CLAIM = """sso_metadata_claim(p_limit integer, p_again interval)
RETURNS TABLE (provider_id uuid, organization_id uuid) LANGUAGE sql VOLATILE AS $$
    UPDATE sso_identityprovider p SET metadata_due_at = clock_timestamp() + p_again
    FROM (
        SELECT q.id FROM sso_identityprovider q
        JOIN tenancy_organization o ON o.id = q.organization_id AND o.closed_at IS NULL
        WHERE q.metadata_due_at <= clock_timestamp()
        ORDER BY q.metadata_due_at LIMIT p_limit FOR NO KEY UPDATE OF q SKIP LOCKED
    ) due WHERE due.id = p.id
    RETURNING p.id, p.organization_id
$$"""
ENDING = """sso_certificates_ending(p_within interval, p_after uuid, p_limit integer)
RETURNS TABLE (organization_id uuid) LANGUAGE sql STABLE AS $$
    SELECT DISTINCT p.organization_id FROM sso_identityprovider p
    JOIN tenancy_organization o ON o.id = p.organization_id AND o.closed_at IS NULL
    WHERE p.state <> 'off' AND p.organization_id > p_after
    AND least(
        p.next_certificate_expires_at, p.certificate_expires_at,
        CASE p.metadata_url WHEN '' THEN p.metadata_valid_until END
    ) < now() + p_within
    AND p.certificate_expires_at > now()
    ORDER BY p.organization_id LIMIT p_limit
$$"""


def _text(**more: int) -> models.CharField:
    return models.CharField(blank=True, default="", db_default="", **more)


class Migration(migrations.Migration):
    """The columns, the table behind the wall, and the two questions that look over it."""

    dependencies = [("sso", "0007_groups_second_factors_and_ends_of_sessions")]

    operations = [
        migrations.AddField("identityprovider", "next_certificate_expires_at", models.DateTimeField(null=True)),
        migrations.AddField("identityprovider", "metadata_url", _text(max_length=2048)),
        migrations.AddField(
            "identityprovider", "metadata_certificate", models.TextField(blank=True, default="", db_default="")
        ),
        migrations.AddField("identityprovider", "metadata_fetched_at", models.DateTimeField(null=True)),
        migrations.AddField("identityprovider", "metadata_valid_until", models.DateTimeField(null=True)),
        migrations.AddField("identityprovider", "metadata_due_at", models.DateTimeField(null=True)),
        migrations.AddField(
            "identityprovider", "metadata_failures", models.PositiveSmallIntegerField(default=0, db_default=0)
        ),
        migrations.AddField("identityprovider", "metadata_failure", _text(max_length=500)),
        migrations.AddField(
            "identityprovider",
            "spare",
            models.CharField(
                blank=True,
                choices=[("next", "Takes the other's place soon"), ("old", "Was in use before")],
                db_default="",
                default="",
                max_length=4,
            ),
        ),
        migrations.AddField("identityprovider", "spare_key", models.BinaryField(null=True)),
        migrations.AddField(
            "identityprovider", "spare_certificate", models.TextField(blank=True, default="", db_default="")
        ),
        migrations.AddField("identityprovider", "spare_since", models.DateTimeField(null=True)),
        migrations.AddIndex(
            "identityprovider",
            models.Index(
                condition=models.Q(("metadata_due_at__isnull", False)),
                fields=["metadata_due_at"],
                name="sso_metadata_due",
            ),
        ),
        migrations.AlterField(
            "signin",
            "state",
            models.CharField(
                choices=[
                    ("answered", "Waits for the browser"),
                    ("done", "Signed in"),
                    ("tested", "Tested"),
                    ("refused", "Refused"),
                    ("ended", "Signed out"),
                ],
                max_length=8,
            ),
        ),
        migrations.CreateModel(
            name="CertificateNotice",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("ends_at", models.DateTimeField()),
                ("days", models.PositiveSmallIntegerField()),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.organization"
                    ),
                ),
                (
                    "provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="sso.identityprovider"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(fields=("provider", "ends_at", "days"), name="sso_certificate_notice_once")
                ],
            },
        ),
        ForceRowSecurity("sso_certificatenotice"),
        SameOrganization("sso_certificatenotice", "provider_id", "sso_identityprovider"),
        DefinerFunction("sso_metadata_claim(integer, interval)", CLAIM),
        DefinerFunction("sso_certificates_ending(interval, uuid, integer)", ENDING),
    ]
