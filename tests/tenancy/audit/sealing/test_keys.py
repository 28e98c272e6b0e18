"""Signing keys: replaced with an overlap, lost, stolen; what was signed stays verifiable."""

import logging
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from capsule_cloud.lib import crypto
from tenancy.audit.sealing import keys, notes, selectors
from tenancy.audit.sealing.models import SigningKey
from tenancy.scope import scope
from tenancy.services import organizations
from tests.factories import Tenant
from tests.sealing import seal_all
from tests.tenancy.audit.sealing.made_exports import verifier


@pytest.fixture(autouse=True)
def _first_key(db: None) -> None:
    """One key that signs, whatever other tests have left."""
    SigningKey.objects.exclude(pk__in=SigningKey.objects.order_by("id")[:1]).update(
        ends_at=timezone.now(), sealed_private=None
    )
    SigningKey.objects.update(ends_at=timezone.now(), end=SigningKey.End.REPLACED)
    keys.rotate()


def note_after(tenant: Tenant, name: str) -> str:
    """The checkpoint after one more event."""
    with scope(tenant.organization):
        organizations.update(actor=tenant.actor, name=name)
        seal_all()
        checkpoint = selectors.latest_checkpoint()
        assert checkpoint is not None
        return checkpoint.note


def published(*, only: bytes | None = None) -> Any:
    """The program's keys, as everybody gets them; or as somebody has them who knows but one."""
    found = Client().get("/.well-known/audit-keys.json").json()["keys"]
    chosen = [one for one in found if only is None or one["public_key"] == notes.encoded(only)]
    return verifier.Keys({"keys": chosen})


def is_signed(note: str, by: Any) -> bool:
    return bool(verifier.checkpoint(note, by).is_signed)


def test_while_they_overlap_both_keys_sign(tenant: Tenant) -> None:
    [old] = keys.signers()
    before = note_after(tenant, "Before")
    new = bytes(keys.rotate().public)
    both = note_after(tenant, "Both")
    assert is_signed(both, published(only=old.public))
    assert is_signed(both, published(only=new))
    SigningKey.objects.filter(public=old.public).update(ends_at=timezone.now())
    after = note_after(tenant, "After")
    assert is_signed(after, published(only=new))
    assert not is_signed(after, published(only=old.public))
    assert is_signed(before, published())  # for ever


def test_what_has_ended_is_destroyed_and_stays_published(tenant: Tenant) -> None:
    [old] = keys.signers()
    keys.rotate(overlap=timedelta(0))
    assert keys.destroy_ended() >= 1
    assert SigningKey.objects.get(public=old.public).sealed_private is None
    assert notes.encoded(old.public) in [one["public_key"] for one in keys.published()]
    assert keys.destroy_ended() == 0


def test_a_lost_key_stops_sealing_until_a_new_one_goes_on(tenant: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    """The drill of docs/runbooks/audit-keys.md."""
    kept = note_after(tenant, "Before")
    [signer] = keys.signers()
    sealed = Fernet(Fernet.generate_key()).encrypt(signer.private)  # with a key that ENCRYPTION_KEYS lacks
    SigningKey.objects.filter(public=signer.public).update(sealed_private=sealed)
    with caplog.at_level(logging.ERROR), pytest.raises(crypto.Unreadable, match=r"audit-keys\.md"):
        note_after(tenant, "Meanwhile")
    assert "audit.signing_key_unreadable" in caplog.text
    call_command("audit_keys", "rotate", "--lost", stdout=StringIO())
    note = note_after(tenant, "After")
    assert is_signed(note, published())
    assert is_signed(kept, published())
    old, new = (int(one.split("\n")[1]) for one in (kept, note))
    with scope(tenant.organization):
        hashes = [notes.encoded(one) for one in selectors.consistency_proof(old, new)]
    document = {"checkpoint": note, "hashes": hashes}
    assert list(verifier.wrong_growth(kept, document, published())) == []


def test_one_unreadable_key_of_two_does_not_stop_sealing(tenant: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    keys.rotate()
    SigningKey.objects.filter(pk=SigningKey.objects.order_by("id").last().pk).update(sealed_private=b"x")  # type: ignore[union-attr]
    with caplog.at_level(logging.ERROR):
        assert len(keys.signers()) == 1
    assert "audit.signing_key_unreadable" in caplog.text


def test_what_a_stolen_key_signed_counts_no_more(tenant: Tenant) -> None:
    before = note_after(tenant, "Before")
    output = StringIO()
    call_command("audit_keys", "rotate", "--stolen", stdout=output)
    assert "stolen" in output.getvalue()
    assert not is_signed(before, published())
    assert is_signed(note_after(tenant, "After"), published())
    stolen = next(one for one in keys.published()[::-1] if one["state"] == "stolen")
    assert stolen["log_size"] == selectors.log_head().size - 1


def test_keys_are_listed_without_their_private_halves(tenant: Tenant) -> None:
    output = StringIO()
    call_command("audit_keys", "rotate", stdout=output)
    call_command("audit_keys", "list", stdout=output)
    for signer in keys.signers():
        assert notes.encoded(signer.public) in output.getvalue()
        assert notes.encoded(signer.private) not in output.getvalue()


def test_the_first_key_makes_itself(tenant: Tenant) -> None:
    SigningKey.objects.update(ends_at=timezone.now())
    [signer] = keys.signers()
    assert keys.signers() == [signer]
    assert crypto.public_key(signer.private) == signer.public
