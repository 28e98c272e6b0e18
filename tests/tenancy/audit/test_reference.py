"""The customers' page and the file of schemas say what the catalogue and the code do."""

import json
import re
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from django.conf import settings

from tenancy.audit.actions import CATALOGUE
from tenancy.audit.attempts import services as attempts
from tenancy.audit.reference import as_json, with_catalogue

PAGE = Path(settings.BASE_DIR) / "docs/audit.md"
SCHEMAS = Path(settings.BASE_DIR) / "docs/api/audit_actions.json"
REMEDY = "Run `.venv/bin/python manage.py audit_catalogue`."


def test_the_page_has_the_catalogue_as_it_is() -> None:
    text = PAGE.read_text()
    assert with_catalogue(text) == text, REMEDY
    assert all(f"| `{name}` |" in text for name in CATALOGUE)


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(LookupError):
        with_catalogue("nothing")


def test_the_file_has_the_schema_of_every_action() -> None:
    text = SCHEMAS.read_text()
    assert as_json() == text, REMEDY
    actions = json.loads(text)["actions"]
    assert set(actions) == set(CATALOGUE)
    for described in actions.values():
        jsonschema.Draft202012Validator.check_schema(described["schema"])


def test_the_page_names_the_code_s_own_figures() -> None:
    text = re.sub(r"\s+", " ", PAGE.read_text())
    assert f"the first {attempts.FIRST} attempts of a source" in text
    assert f"{attempts.MOST_SOURCES} sources are told apart" in text
    assert f"in the {attempts.FLUSH_EVERY:g} seconds before it is killed" in text
