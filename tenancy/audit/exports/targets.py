"""Writes the stores of customers that exports are put into, opens and tests them."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import uuid_utils.compat as uuid_utils
from django.db.models import ProtectedError
from django.utils import timezone

from capsule_cloud.lib import crypto, storage
from tenancy.audit import actions
from tenancy.audit.exports.models import Schedule, Target
from tenancy.audit.services import Actor, record
from tenancy.audit.services import Target as AuditTarget
from tenancy.errors import Conflict, Invalid, LimitReached, NotFound
from tenancy.scope import scope
from tenancy.services import organizations

MOST = 20


def audit_target(target: Target) -> AuditTarget:
    """A store as an audit target."""
    return AuditTarget("audit_store", str(target.pk), target.name)


def get(target_id: UUID) -> Target:
    """One store. Raises NotFound."""
    found = Target.objects.filter(pk=target_id).first()
    if found is None:
        raise NotFound("There is no such store.")
    return found


def create(*, actor: Actor, name: str, kind: str, options: Mapping[str, str], secrets: Mapping[str, str]) -> Target:
    """A store that exports can be put into; nothing is sent there yet. Raises Invalid or LimitReached."""
    organizations.locked()
    if Target.objects.count() >= MOST:
        raise LimitReached(f"There are {MOST} stores: delete one first.")
    options, secrets = _checked(kind, options, secrets)
    target = Target.objects.create(
        name=_clean_name(name), kind=kind, options=options, sealed_secrets=crypto.seal(orjson.dumps(secrets))
    )
    said = {"kind": kind, "place": target.place}
    record(action=actions.TARGET_CREATED, actor=actor, target=audit_target(target), metadata=said)
    return target


def update(
    *,
    actor: Actor,
    target_id: UUID,
    name: str | None = None,
    options: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Target:
    """Change a store; None leaves a part as it is, and so does an empty secret. Raises NotFound or Invalid.

    Where it lies cannot change without its secrets: else one that may not see them could have them sent elsewhere.
    """
    target = Target.objects.select_for_update(no_key=True).filter(pk=target_id).first()
    if target is None:
        raise NotFound("There is no such store.")
    given = {key: value for key, value in (secrets or {}).items() if value}
    wanted = dict(target.options) if options is None else options
    is_moved = wanted != target.options
    needed = [one for one in storage.KINDS[target.kind].secrets if one != "authorization"]
    if is_moved and not all(given.get(one) for one in needed):
        raise Invalid(needed[0], "Give the secrets again: the store lies elsewhere now.")
    known = {} if is_moved else secrets_of(target)
    new_options, new_secrets = _checked(target.kind, wanted, {**known, **given})
    changes: dict[str, list[Any]] = {}
    if name is not None and (clean := _clean_name(name)) != target.name:
        changes["name"] = [target.name, clean]
        target.name = clean
    if new_options != target.options:
        changes["options"] = [target.options, new_options]
        target.options = new_options
    if given:
        changes["secrets"] = ["•••", "•••"]
        target.sealed_secrets = crypto.seal(orjson.dumps(new_secrets))
    if changes:
        target.save()
        record(action=actions.TARGET_UPDATED, actor=actor, target=audit_target(target), changes=changes)
    return target


def delete(*, actor: Actor, target_id: UUID) -> Target:
    """Forget a store and its secrets; returns what it was. Raises NotFound, or Conflict while a schedule uses it."""
    target = get(target_id)
    if Schedule.objects.filter(target=target).exists():
        raise Conflict("A schedule puts exports into it: delete that first.")
    said = {"kind": target.kind, "place": target.place}
    try:
        target.delete()
    except ProtectedError:
        raise Conflict("A schedule puts exports into it: delete that first.") from None
    gone = AuditTarget("audit_store", str(target_id), target.name)
    record(action=actions.TARGET_DELETED, actor=actor, target=gone, metadata=said)
    return target


def secrets_of(target: Target) -> dict[str, str]:
    """Its secrets, for whoever opens it now. Raises Unreadable."""
    found: dict[str, str] = orjson.loads(crypto.unseal(target.sealed_secrets))
    return found


def opened(target: Target) -> storage.Destination:
    """The way into it. Raises StorageError where it cannot be (any more)."""
    try:
        return storage.customers(target.kind, target.options, secrets_of(target))
    except storage.Unfit as unfit:
        raise storage.StorageError("blocked", str(unfit)) from None


def test(*, actor: Actor, organization_id: UUID, target_id: UUID) -> str:
    """Put a small file into a store, and take it away again where that can be; returns why not, or nothing.

    It opens its own scopes: no transaction may be open. Raises NotFound.
    """
    with scope(organization_id):
        target = get(target_id)
    key, failure = f"capsule-test-{uuid_utils.uuid7().hex}.txt", ""
    try:
        destination = opened(target)
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"Capsule Memory Cloud can write here. This file may be deleted.\n")
            file.flush()
            destination.put(key, Path(file.name))
        if isinstance(destination, storage.Bucket):
            destination.delete(key)
    except storage.StorageError as error:
        failure = str(error)
    with scope(organization_id):
        remember(target_id, failure)
        worked = {"worked": not failure}
        record(action=actions.TARGET_TESTED, actor=actor, target=audit_target(target), metadata=worked)
    return failure


def remember(target_id: UUID, failure: str) -> None:
    """Write down what came of the last try."""
    now = timezone.now()
    tried = {"failed_at": now, "failure": failure} if failure else {"worked_at": now, "failure": ""}
    Target.objects.filter(pk=target_id).update(**tried)


def _checked(
    kind: str, options: Mapping[str, str], secrets: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Only what the kind asks for, without blanks around. Raises Invalid."""
    if kind not in storage.KINDS:
        raise Invalid("kind", f"Choose one of {', '.join(storage.KINDS)}.")
    known = storage.KINDS[kind]
    if unknown := {*options, *secrets} - {*known.options, *known.secrets}:
        raise Invalid(min(unknown), f"A store of the kind {kind} has no such field.")
    told = {name: options[name].strip() for name in known.options if options.get(name, "").strip()}
    hidden = {name: secrets[name].strip() for name in known.secrets if secrets.get(name, "").strip()}
    try:
        storage.check(kind, told, hidden)
    except storage.Unfit as unfit:
        raise Invalid(unfit.field, str(unfit)) from None
    return told, hidden


def _clean_name(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= 64 or "\0" in name:
        raise Invalid("name", "Write a name of 1 to 64 characters.")
    return name
