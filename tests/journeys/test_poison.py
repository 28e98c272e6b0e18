"""Files with strange insides and a right checksum: refused, or read by every route and page without a failure."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from capsule_cloud.memory.engine import Capsule, CapsuleType
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.memory.capsules_for_tests import sealed
from tests.factories import Tenant

pytestmark = pytest.mark.django_db
FACT = {"key": "tea", "value": "green tea"}
SKILL = {"skill_name": "brew tea", "instructions": "boil", "description": "how", "trigger_pattern": "tea"}
ODD: list[Any] = [None, 1e308, "high", [[1]], {"a": {"b": []}}]
FORMATS = ("json", "msgpack", "universal", "prompt")
POISONS: list[tuple[CapsuleType, dict[str, Any]]] = [
    *(
        (CapsuleType.MEMORY, {"facts": [FACT | {name: value}], "context_summary": "about tea"})
        for name in ("value", "confidence", "category", "key")
        for value in ODD
    ),
    *(
        (CapsuleType.MEMORY, {"facts": [FACT], name: value})
        for name in ("entities", "timeline", "raw_turns")
        for value in ODD
    ),
    *((CapsuleType.SKILL, SKILL | {name: value}) for name in ("applicable_contexts", "x") for value in ODD),
    *((CapsuleType.HYBRID, {"memory": {"facts": [FACT]}, "skills": [skill]}) for skill in (SKILL, {}, {"x": 1})),
    *((kind, {}) for kind in CapsuleType),
]


def bring_in(api: Api, capsule: Capsule) -> Any:
    file = SimpleUploadedFile("c.json", capsule.to_json().encode())
    form = {"file": file, "user_id": "ada"}
    return api.client.post("/api/v1/capsules/import", form, headers=api.tenant.headers)


def test_what_an_import_lets_in_never_breaks_a_reader(tenant: Tenant) -> None:
    api, browser = Api(tenant), Client(raise_request_exception=False)
    browser.force_login(tenant.owner)
    good = bring_in(api, sealed(CapsuleType.MEMORY, {"facts": [FACT], "context_summary": "tea"}, "Good", "ada")).json()
    broken = []
    for kind, payload in POISONS:
        taken = bring_in(api, sealed(kind, payload, "tea", "ada"))
        assert taken.status_code in {200, 400}, (kind, payload, taken.content)
        if taken.status_code == 400:
            continue
        capsule = taken.json()["capsule_id"]
        path = f"/api/v1/capsules/{capsule}"
        answers = {
            "get": api.get(path),
            "snippet": api.get(f"{path}/prompt-snippet"),
            **{
                f"export {form}": api.get(f"{path}/export?format={form}")
                for form in ("json", "msgpack", "universal", "prompt")
            },
            "fork": api.post(f"{path}/fork", {"new_user_id": "bob"}),
            "diff": api.get(f"{path}/diff/{good['capsule_id']}"),
            "diff back": api.get(f"/api/v1/capsules/{good['capsule_id']}/diff/{capsule}"),
            "merge": api.post("/api/v1/capsules/merge", {"capsule_ids": [capsule, good["capsule_id"]]}),
            "recall": api.get("/api/v1/recall?query=green+tea&user_id=ada&top_k=10"),
            "tags": api("PUT", f"{path}/tags", {"tags": ["a"]}),
            "page": browser.get(f"/o/{tenant.organization.slug}/memory/default/?id={capsule}"),
            "search": browser.get(f"/o/{tenant.organization.slug}/memory/?q=green+tea+boil"),
        }
        if wrong := {name: answer.status_code for name, answer in answers.items() if answer.status_code >= 400}:
            broken.append((kind, payload, wrong))
        assert api.delete(path).status_code == 200
    assert broken == []
