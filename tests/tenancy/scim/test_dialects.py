"""What Okta and Entra ID send, as their vendors' pages for developers show it, is answered as they expect."""

import json
from pathlib import Path
from typing import Any

import pytest

from tenancy.models import Membership
from tenancy.scope import scope
from tests.tenancy.scim.conftest import Idp

FOLDER = Path(__file__).parent / "sequences"


def filled(value: Any, names: dict[str, str]) -> Any:
    """The value with `{name}` replaced in each of its texts."""
    if isinstance(value, dict):
        return {key: filled(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, names) for one in value]
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace(f"{{{name}}}", text)
    return value


@pytest.mark.parametrize("vendor", ["okta", "entra"])
def test_a_vendor_is_answered_as_it_expects(idp: Idp, vendor: str) -> None:
    names = {"domain": idp.domain}
    for step in json.loads((FOLDER / f"{vendor}.json").read_text()):
        asked = filled(step, names)
        data = idp(asked["method"], asked["path"], asked.get("body"), asked["status"]).data or {}
        assert {name: data.get(name) for name in asked.get("has", {})} == asked.get("has", {}), asked["say"]
        assert not data.keys() & set(asked.get("lacks", ())), asked["say"]
        if "inside" in asked:
            assert [one["value"] for one in data.get("members", ())] == asked["inside"], asked["say"]
        if "members" in asked:
            with scope(idp.tenant.organization):
                assert Membership.objects.count() == asked["members"], asked["say"]
        names |= {name: data[key] for name, key in asked.get("keep", {}).items()}
