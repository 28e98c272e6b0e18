"""Metadata is fetched where it is, believed as far as it is signed, and what fails takes nothing away."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from capsule_cloud.lib.http import OpenTransaction
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Conflict, Invalid
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers import services
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml import ending, fetching, logouts, metadata, refreshing, responses, sources
from tenancy.sso.tasks import fetch_metadata
from tests.factories import Tenant
from tests.identity_provider import SamlProvider
from tests.raw import connect as raw_connect
from tests.targets import Target, says


@pytest.fixture(autouse=True)
def _nothing_is_left_to_fetch(django_db_setup: None) -> None:
    """Leave alone what other tests have committed."""
    with raw_connect("superuser") as server:
        server.execute("UPDATE sso_identityprovider SET metadata_due_at = NULL")


@pytest.fixture
def place() -> Iterator[Target]:
    """Where the identity provider shows its metadata."""
    with Target() as target:
        yield target
    fetching.door().close()
    fetching.door.cache_clear()


def shows(place: Target, text: str, status: int = 200, **headers: str) -> None:
    """Have the address say this."""
    place.behaviour = says(status, text.encode(), **headers)


def added(
    tenant: Tenant, place: Target, idp: SamlProvider, *, certificate: str = "", text: str = ""
) -> IdentityProvider:
    """A provider whose metadata comes from the address."""
    shows(place, text or idp.metadata())
    found = fetching.fetch(place.url, metadata.clean_certificate(certificate))
    with scope(tenant.organization):
        return services.add(
            actor=tenant.actor,
            name="Okta",
            metadata_xml=found,
            metadata_url=place.url,
            metadata_certificate=certificate,
        )


def now_of(tenant: Tenant, row: IdentityProvider) -> IdentityProvider:
    """The row as it is."""
    with scope(tenant.organization):
        return IdentityProvider.objects.get(pk=row.pk)


def is_due(tenant: Tenant, row: IdentityProvider) -> None:
    """Have it be time for the next fetch."""
    with scope(tenant.organization):
        IdentityProvider.objects.filter(pk=row.pk).update(metadata_due_at=timezone.now() - timedelta(seconds=1))


def test_it_is_fetched_again_and_a_new_certificate_counts(tenant: Tenant, place: Target, idp: SamlProvider) -> None:
    row = added(tenant, place, idp)
    renewed = SamlProvider(idp.entity_id)
    shows(place, idp.metadata(renewed.certificate))
    is_due(tenant, row)
    fetch_metadata()
    now = now_of(tenant, row)
    assert (now.version, now.metadata_failures, renewed.certificate.splitlines()[5] in now.metadata) == (2, 0, True)
    assert now.metadata_due_at
    assert now.metadata_fetched_at
    assert timedelta(hours=21) < now.metadata_due_at - now.metadata_fetched_at <= timedelta(days=1)
    with scope(tenant.organization):
        told = AuditEvent.objects.filter(action=actions.PROVIDER_CHANGED.name).get()
    assert (told.actor["kind"], "metadata_sha256" in told.changes) == ("system", True)
    assert refreshing.fetch_due() == 0


def test_metadata_that_says_the_same_in_other_words_is_kept_and_not_told(
    tenant: Tenant, place: Target, idp: SamlProvider
) -> None:
    row = added(tenant, place, idp)
    shows(place, idp.metadata(head=f' validUntil="{datetime.now(UTC) + timedelta(hours=4):%Y-%m-%dT%H:%M:%SZ}"'))
    now = refreshing.fetch_now(actor=tenant.actor, organization_id=tenant.organization.pk, provider_id=row.pk)
    assert (now.metadata_failure, now.version) == ("", 2)
    assert now.metadata_valid_until
    assert now.metadata_due_at
    assert now.metadata_due_at < now.metadata_valid_until - timedelta(hours=1)
    with scope(tenant.organization):
        assert not AuditEvent.objects.filter(action=actions.PROVIDER_CHANGED.name).exists()


@pytest.mark.parametrize(
    ("status", "text", "headers", "says_why"),
    [
        (500, "", {}, "status 500"),
        (302, "", {"Location": "https://other.example.com/"}, "leads on to https://other.example.com/"),
        (200, "A" * (metadata.LARGEST + 1), {}, "more than 256 KB"),
        (200, "hello", {}, "no XML"),
        (200, "another", {}, "another identity provider"),
    ],
)
def test_a_fetch_that_fails_keeps_what_was_there_and_says_why(
    status: int, text: str, headers: dict[str, str], says_why: str, tenant: Tenant, place: Target, idp: SamlProvider
) -> None:
    row = added(tenant, place, idp)
    shows(place, SamlProvider().metadata() if text == "another" else text, status, **headers)
    now = refreshing.fetch_now(actor=tenant.actor, organization_id=tenant.organization.pk, provider_id=row.pk)
    assert says_why in now.metadata_failure
    assert (now.metadata, now.version, now.metadata_failures) == (row.metadata, row.version, 1)


def test_admins_are_told_after_the_third_failure_and_not_again(
    tenant: Tenant, place: Target, idp: SamlProvider, django_capture_on_commit_callbacks: Any
) -> None:
    row = added(tenant, place, idp)
    shows(place, "", 404)
    for _ in range(5):
        is_due(tenant, row)
        with django_capture_on_commit_callbacks(execute=True):
            fetch_metadata()
    now = now_of(tenant, row)
    assert now.metadata_failures == 5
    assert now.metadata_due_at
    assert timedelta(hours=13) < now.metadata_due_at - timezone.now() <= timedelta(hours=16)
    [told] = mail.outbox
    assert "status 404" in told.body
    assert told.to == [tenant.owner.email]
    with scope(tenant.organization):
        assert AuditEvent.objects.filter(action=actions.PROVIDER_METADATA_FAILED.name).count() == 1


def test_where_a_certificate_was_given_only_metadata_signed_by_it_counts(
    tenant: Tenant, place: Target, idp: SamlProvider
) -> None:
    federation = SamlProvider()
    good = idp.metadata(head=' ID="_all"', signed_by=federation)
    row = added(tenant, place, idp, certificate=federation.certificate, text=good)
    assert row.metadata_certificate == federation.certificate
    for bad in (
        idp.metadata(),
        idp.metadata(head=' ID="_all"', signed_by=SamlProvider()),
        good.replace("https://idp.example.com/sso", "https://evil.example.com/sso"),
    ):
        shows(place, bad)
        now = refreshing.fetch_now(actor=tenant.actor, organization_id=tenant.organization.pk, provider_id=row.pk)
        assert "not signed by the certificate" in now.metadata_failure
    shows(place, good)
    now = refreshing.fetch_now(actor=tenant.actor, organization_id=tenant.organization.pk, provider_id=row.pk)
    assert now.metadata_failures == 0


def test_an_address_that_leads_into_our_network_is_not_asked(settings: Any) -> None:
    settings.EGRESS_LOOPBACK = False
    for address in ("http://idp.example.com/m", "https://127.0.0.1/m", "https://169.254.169.254/m", "https://a@b.com/"):
        with pytest.raises(fetching.Unfetched):
            fetching.fetch(address, "")
        with pytest.raises(Invalid) as failure:
            fetching.check_url(address)
        assert failure.value.field == "metadata_url"


def test_nothing_is_fetched_while_a_transaction_is_open(tenant: Tenant, place: Target) -> None:
    with scope(tenant.organization), pytest.raises(OpenTransaction):
        fetching.fetch(place.url, "")


def test_pasted_metadata_is_fetched_from_nowhere(tenant: Tenant, idp: SamlProvider) -> None:
    with scope(tenant.organization):
        row = services.add(actor=tenant.actor, name="Okta", metadata_xml=idp.metadata(), metadata_certificate="x")
    assert (row.metadata_url, row.metadata_certificate, row.metadata_due_at) == ("", "", None)
    with pytest.raises(Conflict):
        refreshing.fetch_now(actor=tenant.actor, organization_id=tenant.organization.pk, provider_id=row.pk)


def test_what_was_fetched_from_an_address_that_was_changed_meanwhile_does_not_count(
    tenant: Tenant, place: Target, idp: SamlProvider
) -> None:
    asked = added(tenant, place, idp)
    with scope(tenant.organization):
        services.change(
            actor=tenant.actor,
            actor_role=Role.OWNER,
            provider_id=asked.pk,
            name="Okta",
            metadata_xml=idp.metadata(),
            email_attribute="",
            name_attribute="",
            default_role="viewer",
            is_unsolicited_allowed=False,
        )
    refreshing.settle(asked, fetching.Unfetched("Too late."))
    assert now_of(tenant, asked).metadata_failures == 0


def test_a_certificate_may_be_pasted_with_or_without_its_frame(idp: SamlProvider) -> None:
    bare = "".join(line for line in idp.certificate.splitlines() if "CERTIFICATE" not in line)
    assert metadata.clean_certificate(bare) == metadata.clean_certificate(idp.certificate) == idp.certificate
    assert metadata.clean_certificate(" \n") == ""
    with pytest.raises(Invalid) as failure:
        metadata.clean_certificate("hello")
    assert failure.value.field == "metadata_certificate"


def test_it_is_fetched_sooner_where_it_may_not_be_kept_as_long() -> None:
    now, idp = timezone.now(), SamlProvider()
    described = metadata.read(idp.metadata(head=' cacheDuration="PT2H"'))
    assert described.cache_duration == timedelta(hours=2)
    assert now + timedelta(hours=1.7) < sources.next_fetch(described, now) <= now + timedelta(hours=2)
    often = metadata.read(idp.metadata(head=' cacheDuration="PT1S"'))
    assert now + timedelta(minutes=50) < sources.next_fetch(often, now) <= now + timedelta(hours=1)
    assert metadata.read(idp.metadata(head=' cacheDuration="soon"')).cache_duration is None


def test_what_is_no_text_or_no_xml_is_not_taken(place: Target) -> None:
    place.behaviour = says(200, b"\xff\xfe<a/>")
    with pytest.raises(fetching.Unfetched, match="not in UTF-8"):
        fetching.fetch(place.url, "")
    shows(place, "hello")
    with pytest.raises(fetching.Unfetched, match="not signed by the certificate"):
        fetching.fetch(place.url, SamlProvider().certificate)


def test_metadata_that_has_ended_lets_nobody_in_until_it_is_fetched_anew(
    tenant: Tenant, place: Target, idp: SamlProvider
) -> None:
    row = added(tenant, place, idp)
    ended = f' validUntil="{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"'
    with scope(tenant.organization):
        IdentityProvider.objects.filter(pk=row.pk).update(
            state="active",
            metadata=idp.metadata(head=ended, logout="https://idp.example.com/slo"),
            metadata_valid_until=timezone.now() - timedelta(hours=1),
        )
    answer = Client().get(f"/sso/saml/{row.pk}/login/")
    assert (answer.status_code, b"metadata_ended" in answer.content) == (403, True)
    said = idp.says(row, "ada@acme.com", "_asked")
    with pytest.raises(Refused) as refusal:
        responses.read(now_of(tenant, row), idp.answer(said))
    assert refusal.value.code == "metadata_ended"
    assert ending.ask(now_of(tenant, row), {"subject": "ada@acme.com"}) is None
    assert ending.answer(now_of(tenant, row), "_1", logouts.SUCCESS, "") == ""
    refreshing.fetch_now(actor=tenant.actor, organization_id=tenant.organization.pk, provider_id=row.pk)
    assert responses.read(now_of(tenant, row), idp.answer(said)).subject == "ada@acme.com"


def test_one_that_cannot_be_settled_does_not_keep_the_others(
    tenant: Tenant, place: Target, idp: SamlProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [added(tenant, place, idp) for _ in range(2)]
    settle = refreshing.settle

    def fail_once(asked: IdentityProvider, found: str | fetching.Unfetched) -> None:
        if asked.pk == rows[0].pk:
            raise RuntimeError("The disk is full.")
        settle(asked, found)

    monkeypatch.setattr(refreshing, "settle", fail_once)
    shows(place, "", 500)
    for row in rows:
        is_due(tenant, row)
    assert refreshing.fetch_due() == 2
    assert [now_of(tenant, row).metadata_failures for row in rows] == [0, 1]
    assert str(rows[0].pk) in caplog.text
