"""Proofs by the API, checked with the program that customers run."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tenancy.audit.sealing import keys, notes
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant
from tests.sealing import seal_all
from tests.tenancy.audit.sealing.made_exports import verifier


@pytest.fixture
def api(tenant: Tenant) -> Api:
    return Api(tenant)


@pytest.fixture
def published(db: None) -> Any:
    """The keys as the program reads them."""
    seal_all()
    return verifier.Keys(Client().get("/.well-known/audit-keys.json").json())


def test_an_event_proves_itself_by_the_api(api: Api, published: Any) -> None:
    event_id = api.get("/v1/audit/events").json()["data"][0]["id"]
    seal_all()
    answer = api.get(f"/v1/audit/events/{event_id}/proof").json()
    assert json.loads(answer["event"])["id"] == event_id
    assert list(verifier.wrong_event(answer["event"].encode(), answer["proof"], published)) == []
    assert list(verifier.wrong_event(answer["event"].encode() + b"x", answer["proof"], published)) != []
    text = api.get(f"/v1/audit/events/{event_id}/proof?format=tlog-proof")
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert text.content.decode() == answer["proof"]


def test_an_event_that_is_not_sealed_yet_is_not_found(api: Api, published: Any) -> None:
    api.post("/v1/projects", {"name": "New"})
    event_id = api.get("/v1/audit/events").json()["data"][0]["id"]
    refused = api.get(f"/v1/audit/events/{event_id}/proof")
    assert refused.status_code == 404
    assert "not sealed" in refused.json()["detail"]


def test_a_checkpoint_is_signed_and_in_the_log_of_all(api: Api, published: Any) -> None:
    seal_all()
    answer = api.get("/v1/audit/checkpoint").json()
    found = verifier.checkpoint(answer["checkpoint"], published)
    assert (found.is_signed, found.origin, found.size) == (True, answer["origin"], answer["size"])
    assert found.origin.endswith(str(api.tenant.organization.pk))
    assert answer["verifier_keys"] == [notes.verifier_key(answer["origin"], one) for one in keys.public_halves()]
    assert list(verifier.wrong_event(answer["checkpoint"].encode(), answer["log"]["proof"], published)) == []
    assert Client().get("/.well-known/audit-log/checkpoint").content.decode() == answer["log"]["checkpoint"]


def test_the_trail_and_the_log_of_all_prove_that_they_only_grew(api: Api, published: Any) -> None:
    seal_all()
    kept, log_kept = api.get("/v1/audit/checkpoint").json(), Client().get("/.well-known/audit-log/checkpoint")
    for name in ("One", "Two", "Three"):
        api.post("/v1/projects", {"name": name})
        seal_all()
    grown = api.get(f"/v1/audit/consistency?from={kept['size']}").json()
    assert grown["to"] > kept["size"]
    assert list(verifier.wrong_growth(kept["checkpoint"], grown, published)) == []
    to = api.get(f"/v1/audit/consistency?from={kept['size']}&to={kept['size']}").json()
    assert list(verifier.wrong_growth(kept["checkpoint"], to, published)) == []
    forged = kept["checkpoint"].replace(f"\n{kept['size']}\n", f"\n{kept['size'] + 1}\n")
    assert list(verifier.wrong_growth(forged, grown, published)) != []
    size = log_kept.content.decode().split("\n")[1]
    log_grown = Client().get(f"/.well-known/audit-log/consistency?from={size}").json()
    assert log_grown["to"] == int(size) + 3
    assert list(verifier.wrong_growth(log_kept.content.decode(), log_grown, published)) == []


def test_the_program_takes_what_the_api_answers(
    api: Api, published: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As docs/audit.md says it."""
    seal_all()
    (tmp_path / "checkpoint.txt").write_text(api.get("/v1/audit/checkpoint").json()["checkpoint"])
    size = api.get("/v1/audit/checkpoint").json()["size"]
    api.post("/v1/projects", {"name": "New"})
    seal_all()
    event_id = api.get("/v1/audit/events").json()["data"][0]["id"]
    proof = api.get(f"/v1/audit/events/{event_id}/proof").json()
    (tmp_path / "event.json").write_text(proof["event"])
    (tmp_path / "event.tlog-proof").write_text(proof["proof"])
    (tmp_path / "growth.json").write_bytes(api.get(f"/v1/audit/consistency?from={size}").content)
    (tmp_path / "audit-keys.json").write_bytes(Client().get("/.well-known/audit-keys.json").content)

    def run(*words: str) -> tuple[int, str]:
        files = [str(tmp_path / word) if "." in word else word for word in (*words, "--keys", "audit-keys.json")]
        return int(verifier.main(files)), capsys.readouterr().out.strip()

    assert run("event", "event.json", "event.tlog-proof") == (0, "The event is in the trail.")
    assert run("growth", "checkpoint.txt", "growth.json") == (0, "The trail has only grown.")
    (tmp_path / "event.json").write_text(proof["event"].replace("organization", "0rganization", 1))
    code, said = run("event", "event.json", "event.tlog-proof")
    assert (code, said) == (1, "This is not what was sealed: it was changed, or the proof is another's.")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/audit/checkpoint?size=1000000", 404),
        ("/v1/audit/checkpoint?size=0", 422),
        ("/v1/audit/consistency", 422),
        ("/v1/audit/consistency?from=x", 422),
        ("/v1/audit/consistency?from=1000000", 404),
        ("/v1/audit/consistency?from=1&to=1000000", 404),
        ("/v1/audit/events/00000000-0000-7000-8000-000000000000/proof", 404),
        ("/v1/audit/events/00000000-0000-7000-8000-000000000000/proof?format=pdf", 422),
    ],
)
def test_what_was_never_signed_is_not_proved(api: Api, published: Any, path: str, status: int) -> None:
    seal_all()
    assert api.get(path).status_code == status


def test_before_anything_is_sealed_there_is_no_checkpoint(api: Api) -> None:
    assert api.get("/v1/audit/checkpoint").status_code == 404


@pytest.mark.parametrize("since", ["-1", "x", "1" * 30, "99999999999"])
def test_a_log_that_never_was_is_not_found(db: None, since: str) -> None:
    assert Client().get(f"/.well-known/audit-log/consistency?from={since}").status_code == 404


def test_everybody_gets_the_program(db: None) -> None:
    assert Client().get("/verify_audit.py").content == Path("docs/api/verify_audit.py").read_bytes()
