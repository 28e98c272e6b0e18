"""Our key for an identity provider is exchanged without a moment in which nobody comes in."""

from collections.abc import Callable

import pytest
from django.test import Client

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Conflict
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml import bindings, keys, metadata, requests, responses
from tests.factories import Tenant
from tests.identity_provider import ASSERTION, SamlProvider, assertion_of, new_id, posted, response_of


def done(tenant: Tenant, what: Callable[..., IdentityProvider], row: IdentityProvider) -> IdentityProvider:
    """One step of an admin's."""
    with scope(tenant.organization):
        return what(actor=tenant.actor, provider_id=row.pk)


def opens(idp: SamlProvider, row: IdentityProvider, certificate: str) -> bool:
    """Whether an answer comes in that is encrypted for this certificate."""
    said = idp.says(row, "ada@acme.com", new_id())
    inside = idp.signed(assertion_of(said), said.assertion_id, ASSERTION)
    answer = response_of(said, idp.encrypted(IdentityProvider(certificate=certificate), inside))
    try:
        return responses.read(row, posted(answer)).subject == "ada@acme.com"
    except Refused:
        return False


def signs(row: IdentityProvider, certificate: str) -> bool:
    """Whether our requests are signed by this certificate's key."""
    stand_in = SamlProvider()
    stand_in.certificate = certificate
    query = requests.ask(row).url.partition("?")[2]
    try:
        return bool(bindings.message(query, "SAMLRequest", metadata.keys(stand_in.metadata())))
    except Refused:
        return False


def test_a_key_is_exchanged_with_overlap(tenant: Tenant, row: IdentityProvider, idp: SamlProvider) -> None:
    first = row.certificate
    assert opens(idp, row, first)
    row = done(tenant, keys.prepare, row)
    second = row.spare_certificate
    assert (row.spare, signs(row, first), signs(row, second)) == ("next", True, False)
    assert opens(idp, row, first)
    assert opens(idp, row, second)
    said = Client().get(f"/sso/saml/{row.pk}/metadata/").content.decode()
    assert [said.count(one.splitlines()[4]) for one in (first, second)] == [2, 2]  # to sign with, and to encrypt for
    with pytest.raises(Conflict):
        done(tenant, keys.prepare, row)

    row = done(tenant, keys.switch, row)
    assert (row.spare, row.certificate, row.tested_at) == ("old", second, None)
    assert (signs(row, first), signs(row, second)) == (False, True)
    assert opens(idp, row, first)
    row = done(tenant, keys.switch, row)  # back again
    assert signs(row, first)
    row = done(tenant, keys.switch, row)

    row = done(tenant, keys.drop, row)
    assert (row.spare, row.spare_key, row.spare_certificate, row.spare_since) == ("", None, "", None)
    assert not opens(idp, row, first)
    assert opens(idp, row, second)
    for step in (keys.switch, keys.drop):
        with pytest.raises(Conflict):
            done(tenant, step, row)
    with scope(tenant.organization):
        told = AuditEvent.objects.filter(action=actions.PROVIDER_KEY_SWITCHED.name).order_by("id").first()
        ends = [
            AuditEvent.objects.get(action=action.name).changes["spare_certificate_sha256"]
            for action in (actions.PROVIDER_KEY_PREPARED, actions.PROVIDER_KEY_DROPPED)
        ]
    assert told
    assert ends == [[None, keys.fingerprint(second)], [keys.fingerprint(first), None]]
    assert told.changes["certificate_sha256"] == [keys.fingerprint(first), keys.fingerprint(second)]


def test_a_fingerprint_is_as_identity_providers_show_it(row: IdentityProvider) -> None:
    parts = keys.fingerprint(row.certificate).split(":")
    assert (len(parts), {len(part) for part in parts}) == (32, {2})
    assert keys.fingerprint("") == ""
