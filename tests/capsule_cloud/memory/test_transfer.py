"""Capsules leave signed (and really encrypted), and come in only whole and into their own place."""

import json
from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capsule_cloud.memory import importing
from capsule_cloud.memory.engine import Capsule
from capsule_cloud.memory.importing import UnreadableCapsule
from capsule_cloud.memory.limits import InvalidInput, TooLarge
from capsule_cloud.memory.models import Capsule as Row
from capsule_cloud.memory.selectors.capsules import CapsuleNotFound, get_document
from capsule_cloud.memory.services import transfer
from capsule_cloud.memory.services.transfer import ExportedFile, ExportFormat, ImportedCapsule
from tenancy.audit import actions
from tenancy.scope import scope
from tenancy.services.signing import verify_export
from tests.capsule_cloud.memory.capsules_for_tests import context, memory, skill, store
from tests.factories import Tenant
from tests.trail import audited

PASSPHRASE = "correct horse battery"


def export(tenant: Tenant, capsule_id: str, **options: Any) -> ExportedFile:
    with scope(tenant.organization):
        return transfer.export_capsule(
            project_id=tenant.project.pk, capsule_id=capsule_id, actor=tenant.actor, **options
        )


def take(
    tenant: Tenant, content: bytes, filename: str = "a.json", user_id: str = "ada", **options: Any
) -> ImportedCapsule:
    with scope(tenant.organization):
        return transfer.import_capsule(
            project_id=tenant.project.pk,
            filename=filename,
            content=content,
            user_id=user_id,
            actor=tenant.actor,
            **options,
        )


def stored(tenant: Tenant) -> list[tuple[str, str]]:
    with scope(tenant.organization):
        return sorted(Row.objects.values_list("capsule_id", "document"))


def read(tenant: Tenant, capsule_id: str) -> dict[str, Any]:
    with scope(tenant.organization):
        document: dict[str, Any] = json.loads(get_document(project_id=tenant.project.pk, capsule_id=capsule_id))
        return document


@pytest.mark.parametrize("file_format", [ExportFormat.JSON, ExportFormat.MSGPACK])
@pytest.mark.parametrize("encrypt", [False, True])
@pytest.mark.parametrize("capsule", [memory("tea"), skill("dig"), context("text")], ids=["memory", "skill", "context"])
def test_what_leaves_comes_back_equal(tenant: Tenant, capsule: Capsule, file_format: str, encrypt: bool) -> None:
    (capsule_id,) = store(tenant, capsule)
    options = {"passphrase": PASSPHRASE} if encrypt else {}
    exported = export(tenant, capsule_id, file_format=file_format, encrypt=encrypt, **options)
    with scope(tenant.organization):
        Row.objects.all().delete()

    made = take(tenant, exported.content, exported.filename, **options)

    assert (made.capsule_id, made.is_renamed) == (capsule_id, False)
    document = read(tenant, capsule_id)
    assert document["payload"] == capsule.payload
    assert document["lifecycle"]["status"] == "imported"
    if encrypt:
        assert capsule.metadata.title.encode() in exported.content  # the engine's format leaves the title in clear
        assert not any(str(value).encode() in exported.content for value in ("fact.0", "do dig", '"text"'))


def test_every_format_has_its_name_and_kind(tenant: Tenant) -> None:
    (capsule_id,) = store(tenant, memory("tea"))
    kinds = {each: export(tenant, capsule_id, file_format=each) for each in ExportFormat}

    assert {each: kinds[each].filename for each in kinds} == {
        "json": f"{capsule_id}.json",
        "msgpack": f"{capsule_id}.capsule",
        "universal": f"{capsule_id}.json",
        "prompt": f"{capsule_id}.txt",
    }
    assert json.loads(kinds[ExportFormat.UNIVERSAL].content)["schema"] == "universal-memory/1.0"
    assert b"=== Memory Context ===" in kinds[ExportFormat.PROMPT].content


def test_an_export_is_signed_by_its_organization_and_audited(tenant: Tenant, stranger: Tenant) -> None:
    (capsule_id,) = store(tenant, memory("tea"))

    exported = export(tenant, capsule_id)

    with scope(tenant.organization):
        assert verify_export(exported.content, exported.signature.value)
        assert not verify_export(exported.content + b" ", exported.signature.value)
        [event] = audited(actions.MEMORY_CAPSULE_EXPORTED.name)
        assert event.metadata == {"format": "json", "encrypted": False, "user_id": "ada"}
    with scope(stranger.organization):
        assert not verify_export(exported.content, exported.signature.value)


@pytest.mark.parametrize(
    "options",
    [
        {"encrypt": True},
        {"encrypt": True, "passphrase": "short"},
        {"encrypt": True, "passphrase": "nul\x00nul\x00"},
        {"encrypt": True, "passphrase": PASSPHRASE, "file_format": "universal"},
        {"encrypt": True, "passphrase": PASSPHRASE, "file_format": "prompt"},
        {"file_format": "yaml"},
    ],
)
def test_no_export_stays_plain_that_was_to_be_encrypted(tenant: Tenant, options: dict[str, Any]) -> None:
    (capsule_id,) = store(tenant, memory("tea"))
    with pytest.raises(InvalidInput):
        export(tenant, capsule_id, **options)


def test_another_ones_capsule_cannot_be_exported(tenant: Tenant, stranger: Tenant) -> None:
    (capsule_id,) = store(tenant, memory("tea"))
    for who, options in ((stranger, {}), (tenant, {"user_id": "bob"})):
        with pytest.raises(CapsuleNotFound):
            export(who, capsule_id, **options)


def test_an_import_cannot_take_another_users_place(tenant: Tenant) -> None:
    victim = memory("the truth")
    store(tenant, victim)
    evil = memory("a lie", title="EVIL", user_id="mallory")
    evil.capsule_id = victim.capsule_id

    made = take(tenant, evil.to_json().encode(), user_id="mallory")

    assert made.is_renamed
    assert made.capsule_id != victim.capsule_id
    assert read(tenant, victim.capsule_id)["metadata"]["title"] == "A title"
    assert read(tenant, made.capsule_id)["identity"]["user_id"] == "mallory"
    with scope(tenant.organization):
        [event] = audited(actions.MEMORY_CAPSULE_IMPORTED.name)
        assert event.metadata["renamed"] is True


def test_ones_own_export_replaces_the_capsule(tenant: Tenant) -> None:
    (capsule_id,) = store(tenant, memory("tea"))
    exported = export(tenant, capsule_id)

    made = take(tenant, exported.content, signature=exported.signature.value)

    assert (made.capsule_id, made.is_renamed) == (capsule_id, False)
    assert len(stored(tenant)) == 1


def test_a_universal_file_and_a_text_come_in(tenant: Tenant) -> None:
    (capsule_id,) = store(tenant, memory("tea", title="Drinks"))
    universal = take(tenant, export(tenant, capsule_id, file_format="universal").content)
    text = take(tenant, b"plain words\x00", "folder/../My notes.txt")

    assert read(tenant, universal.capsule_id)["payload"]["facts"][0]["value"] == "tea"
    assert (text.capsule_type, text.title) == ("context", "My notes")
    assert read(tenant, text.capsule_id)["payload"]["content"] == "plain words\x00"


def tampered(**changes: Any) -> bytes:
    """A file of a memory, changed after its checksum was made."""
    document = json.loads(memory("tea").to_json())
    for path, value in changes.items():
        part = document
        *parents, last = path.split("__")
        for parent in parents:
            part = part[parent]
        part[last] = value
    return json.dumps(document).encode()


BAD_JSON = {
    "changed payload": tampered(payload__facts=[]),
    "no checksum": tampered(integrity__checksum=""),
    "other schema": tampered(schema_version="capsule-schema/2.0"),
    "unknown type": tampered(capsule_type="nope"),
    "path in the id": tampered(capsule_id="cap_../../../etc"),
    "foreign id": tampered(capsule_id="x"),
    "long id": tampered(capsule_id="cap_" + "x" * 300),
    "identity is a list": tampered(identity=[]),
    "no user": tampered(identity__user_id=""),
    "payload is text": tampered(payload="x"),
    "bad moment": tampered(lifecycle__sealed_at="yesterday"),
    "tags are numbers": tampered(metadata__tags=[1]),
    "long agent": tampered(identity__agent_id="x" * 256),
    "agent with NUL": tampered(identity__agent_id="\x00"),
    "long platform": tampered(identity__origin_platform="x" * 256),
    "negative turns": tampered(metadata__turn_count=-1),
    "endless turns": tampered(metadata__turn_count=2**31),
    "the year 10000": tampered(lifecycle__created_at="9999-12-31T23:59:59-12:00"),
    "long title": tampered(metadata__title="x" * 2001),
    "too many tags": tampered(metadata__tags=[str(n) for n in range(51)]),
    "an endless number": tampered(metadata__turn_count=0).replace(b'"payload": {', b'"payload": {"x": 1e999, '),
    "claims encryption": tampered(integrity__encrypted=True),
    "not an object": b"[1, 2]",
    "nothing": b"",
    "null": b"null",
    "no JSON": b"{",
    "not UTF-8": b"\xff\xfe",
    "NaN": b'{"a": NaN}',
    "half a surrogate pair": tampered(metadata__title="\ud800"),
    "huge number": b'{"a": ' + b"9" * 5000 + b"}",
    "deep": b'{"a":' * 100 + b"1" + b"}" * 100,
    "very deep": b"[" * 200_000,
    "universal without texts": b'{"schema": "universal-memory/1.0"}',
    "universal with bad facts": b'{"schema": "universal-memory/1.0", "prompt_injection": "", "facts": [1]}',
    "universal with bad skills": b'{"schema": "universal-memory/1.0", "prompt_injection": "", "skills": [[]]}',
    "universal with bad title": b'{"schema": "universal-memory/1.0", "prompt_injection": "", "title": 1}',
    "universal with bad skill": b'{"schema": "universal-memory/1.0", "prompt_injection": "", "skills": [{"name": 1}]}',
}
BAD_MSGPACK = {
    "claims four billion items": b"\xdd\xff\xff\xff\xff",
    "claims four gigabytes": b"\xdb\xff\xff\xff\xff",
    "nested": b"\x91" * 100_000,
    "numbers as keys": msgpack.packb({1: 2}, strict_types=True),
    "bytes": msgpack.packb({"a": b"\x00"}),
    "an extension type": msgpack.packb(msgpack.ExtType(5, b"x")),
    "a time": b"\xd6\xff\x00\x00\x00\x01",
    "trailing": msgpack.packb({}) + b"x",
    "infinity": msgpack.packb({"a": float("inf")}),
    "bad UTF-8": b"\x81\xa1a\xa1\xff",
    "json": b"{}",
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_a_file_that_is_no_intact_capsule_changes_nothing(tenant: Tenant, name: str) -> None:
    store(tenant, memory("before"))
    before = stored(tenant)
    with pytest.raises(InvalidInput) as refusal:
        take(tenant, BAD_JSON[name])
    assert str(refusal.value)
    assert stored(tenant) == before


@pytest.mark.parametrize("name", BAD_MSGPACK)
def test_a_msgpack_bomb_does_not_go_off(tenant: Tenant, name: str) -> None:
    with pytest.raises(UnreadableCapsule):
        take(tenant, BAD_MSGPACK[name], "a.capsule")
    assert stored(tenant) == []


def test_the_largest_file_is_ten_mebibytes(tenant: Tenant) -> None:
    with pytest.raises(TooLarge):
        take(tenant, b" " * (importing.MAX_IMPORT_BYTES + 1), "a.txt")


def test_a_file_of_the_largest_size_comes_in(tenant: Tenant) -> None:
    made = take(tenant, b"word " * (importing.MAX_IMPORT_BYTES // 5), "a.txt")
    assert made.capsule_type == "context"


@pytest.mark.parametrize("user_id", ["", "nul\x00", "x" * 256])
def test_an_import_needs_an_end_user(tenant: Tenant, user_id: str) -> None:
    with pytest.raises(InvalidInput):
        take(tenant, memory("tea").to_json().encode(), user_id=user_id)


def test_an_encrypted_file_needs_its_passphrase(tenant: Tenant) -> None:
    (capsule_id,) = store(tenant, memory("tea"))
    content = export(tenant, capsule_id, encrypt=True, passphrase=PASSPHRASE).content
    document = json.loads(content)

    for passphrase in ("", "a wrong passphrase"):
        with pytest.raises(UnreadableCapsule, match="passphrase"):
            take(tenant, content, passphrase=passphrase)
    for damage in ({"salt": "not base64!"}, {"pre_encrypt_checksum": ""}, {"pre_encrypt_checksum": "0" * 64}):
        damaged = document | {"integrity": document["integrity"] | damage}
        with pytest.raises(UnreadableCapsule):
            take(tenant, json.dumps(damaged).encode(), passphrase=PASSPHRASE)


def test_a_signature_of_somebody_else_is_refused(tenant: Tenant, stranger: Tenant) -> None:
    (capsule_id,) = store(tenant, memory("tea"))
    exported = export(tenant, capsule_id)
    with pytest.raises(UnreadableCapsule, match="signature"):
        take(stranger, exported.content, signature=exported.signature.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode()),
    filename=st.sampled_from(["a.json", "a.capsule", "a", "../a.msgpack", ".json", "a.txt.exe"]),
)
def test_any_bytes_are_a_capsule_or_a_clear_refusal(content: bytes, filename: str) -> None:
    with suppress(InvalidInput):
        assert importing.read(filename, content, user_id="ada").identity.user_id == "ada"


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_change_of_a_capsules_payload_is_noticed(data: st.DataObject) -> None:
    document = json.loads(memory("tea", "coffee", summary="drinks").to_json())
    target = data.draw(st.sampled_from(["facts", "context_summary", "entities", "timeline", "raw_turns"]))
    value = data.draw(st.none() | st.text(max_size=5) | st.lists(st.integers(), min_size=1, max_size=2))
    document["payload"][target] = value
    with pytest.raises(UnreadableCapsule):
        importing.read("a.json", json.dumps(document).encode(), user_id="ada")
