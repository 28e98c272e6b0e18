"""The hashes file and the manifest, made from the database and checked with the program that customers run."""

import io
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.audit.sealing import exporting, keys, notes, selectors
from tenancy.audit.sealing.models import Checkpoint
from tenancy.audit.services import SYSTEM, Target, record
from tenancy.scope import scope
from tests.factories import Tenant
from tests.raw import connect
from tests.sealing import seal_all
from tests.tenancy.audit.sealing.made_exports import digest, hashes_of, publish, verifier


def record_some(count: int) -> None:
    for number in range(count):
        record(action=actions.PROJECT_UPDATED, actor=SYSTEM, target=Target("project", str(number), "P"), metadata={})


def bodies() -> list[bytes]:
    """Of the organization in scope, in the order of their places."""
    by_id = dict(AuditEvent.objects.values_list("id", "body"))
    return [by_id[leaf.event_id].encode() for leaf in selectors.leaves(0, 10**6)]


@pytest.fixture
def trail(tenant: Tenant) -> list[bytes]:
    """A sealed trail with a checkpoint in between; the organization's scope is the test's own."""
    with scope(tenant.organization):
        record_some(270)
        seal_all()
        record_some(60)
        seal_all()
        return bodies()


@pytest.mark.parametrize(("first", "count"), [(0, 0), (0, 300), (1, 1), (100, 200), (256, 10), (300, 0)])
def test_the_hashes_cover_the_tree_around_any_range(
    tenant: Tenant, trail: list[bytes], first: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "AT_ONCE", 7)
    out = io.BytesIO()
    with scope(tenant.organization):
        exporting.write_hashes(out, size=300, first=first, count=count)
    assert out.getvalue() == hashes_of(trail[:300], range(first, first + count))


def write_export(
    folder: Path,
    trail: list[bytes],
    seqs: list[int],
    *,
    selection: dict[str, str] | None = None,
    since: int | None = None,
) -> Path:
    """Of the organization in scope, as JSON Lines."""
    checkpoint = selectors.latest_checkpoint()
    assert checkpoint is not None
    data, hashes = folder / "t.jsonl", folder / "t.hashes"
    data.write_bytes(b"".join(trail[seq] + b"\n" for seq in seqs))
    with hashes.open("wb") as stream:
        if selection is None:
            exporting.write_hashes(stream, size=checkpoint.size, first=seqs[0], count=len(seqs))
        else:
            assert exporting.write_selected_hashes(stream, size=checkpoint.size, seqs=seqs) == len(seqs)
    made = [
        exporting.File(one.name, "jsonl", "none", seqs[0], len(seqs), one.stat().st_size, digest(one))
        for one in (data, hashes)
    ]
    manifest = folder / "t.manifest.json"
    manifest.write_bytes(
        exporting.manifest(
            checkpoint=checkpoint,
            files=made[:1],
            hashes=made[1],
            first=seqs[0],
            count=len(seqs),
            columns={},
            created_at=timezone.now(),
            selection=selection,
            since=since,
        )
    )
    publish(folder / "audit-keys.json", *[notes.Signer(one, b"") for one in keys.public_halves()])
    return manifest


def verdict(manifest: Path) -> tuple[list[str], str]:
    arguments = ["export", str(manifest), "--keys", str(manifest.parent / "audit-keys.json")]
    found: tuple[list[str], str] = verifier.check(verifier.parser().parse_args(arguments))
    return found


def test_a_whole_export_holds(tenant: Tenant, trail: list[bytes], tmp_path: Path) -> None:
    with scope(tenant.organization):
        manifest = write_export(tmp_path, trail, list(range(len(trail))))
    found, said = verdict(manifest)
    assert found == []
    assert said.startswith(f"{len(trail)} events hold, every event from 0 on")


def test_an_export_goes_on_from_the_one_before(tenant: Tenant, trail: list[bytes], tmp_path: Path) -> None:
    with scope(tenant.organization):
        before = Checkpoint.objects.order_by("size")[0]
        manifest = write_export(tmp_path, trail, list(range(before.size, len(trail))), since=before.size)
    assert verdict(manifest)[0] == []
    assert json.loads(manifest.read_bytes())["manifest"]["since"]["checkpoint"] == before.note


def test_a_selection_proves_that_its_events_are_genuine(tenant: Tenant, trail: list[bytes], tmp_path: Path) -> None:
    with scope(tenant.organization):
        manifest = write_export(tmp_path, trail, [3, 4, 100, 299], selection={"actor": "ada"})
    found, said = verdict(manifest)
    assert found == []
    assert 'a selection ({"actor":"ada"})' in said
    (tmp_path / "t.jsonl").write_bytes(b"".join(trail[seq] + b"\n" for seq in (3, 5, 100, 299)))
    assert any(one.startswith("CHANGED: t.jsonl, no. 2: event 4") for one in verdict(manifest)[0])


@pytest.mark.parametrize("wish", [{"since": 5}, {"since": 10**6}])
def test_what_was_never_signed_cannot_be_gone_on_from(
    tenant: Tenant, trail: list[bytes], tmp_path: Path, wish: dict[str, int]
) -> None:
    with scope(tenant.organization), pytest.raises(selectors.NotSealed):
        write_export(tmp_path, trail, [0], **wish)  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "first", "count"), [(10**6, 0, 1), (300, 10**6, 1)])
def test_what_is_not_sealed_is_not_exported(
    tenant: Tenant, trail: list[bytes], size: int, first: int, count: int
) -> None:
    with scope(tenant.organization), pytest.raises((selectors.NotSealed, ValueError)):
        exporting.write_hashes(io.BytesIO(), size=size, first=first, count=count)


# --- The command ---


def test_the_command_checks_with_the_keys_of_its_database(
    tenant: Tenant, trail: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with scope(tenant.organization):
        manifest = write_export(tmp_path, trail, list(range(len(trail))))
    call_command("verify_audit", "export", str(manifest))
    assert "events hold" in capsys.readouterr().out
    (tmp_path / "t.jsonl").write_bytes(b"")
    with pytest.raises(SystemExit) as ended:
        call_command("verify_audit", "export", str(manifest), "--keys", str(tmp_path / "audit-keys.json"))
    assert ended.value.code == 1
    assert "CUT OFF" in capsys.readouterr().out


@pytest.mark.django_db(transaction=True)
def test_the_command_finds_an_event_that_was_changed_in_the_database(tenant: Tenant) -> None:
    organization_id = tenant.organization.pk
    seal_all()
    output = StringIO()
    call_command("verify_audit", "organization", str(organization_id), stdout=output)
    assert output.getvalue().endswith(f"sealed events of {organization_id} hold.\n")

    def in_the_database(statement: str, values: list[Any]) -> None:
        with connect("superuser") as server, server.transaction():
            server.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER no_change")
            server.execute(statement, values)
            server.execute("ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER no_change")

    with scope(tenant.organization):
        event = AuditEvent.objects.order_by("id")[0]
    change = "UPDATE audit_auditevent SET body = %s WHERE id = %s"
    in_the_database(change, [event.body + " ", event.pk])
    with pytest.raises(CommandError, match=rf"Event {event.pk} at 0 is not what was sealed\."):
        call_command("verify_audit", "organization", str(organization_id))
    in_the_database(change, [event.body, event.pk])
