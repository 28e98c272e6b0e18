"""The document is current, whole and served."""

from pathlib import Path

import orjson
from django.conf import settings
from django.core.management import call_command
from django.test import Client


def test_the_checked_in_document_is_current(tmp_path: Path) -> None:
    fresh = tmp_path / "openapi.yaml"
    call_command("spectacular", file=str(fresh), validate=True, fail_on_warn=True)
    checked_in = Path(settings.BASE_DIR) / "docs/api/openapi.yaml"
    assert fresh.read_text() == checked_in.read_text(), (
        "The API has changed: run `.venv/bin/python manage.py spectacular --file docs/api/openapi.yaml`."
    )


def test_programs_get_the_document_without_a_key(client: Client) -> None:
    answer = client.get("/openapi.json")
    assert answer.headers["Content-Type"] == "application/vnd.oai.openapi+json"
    document = orjson.loads(answer.content)
    assert document["openapi"] == "3.1.1"
    assert document["components"]["securitySchemes"] == {
        "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key of a project: `cmk_…`."}
    }
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            assert described["operationId"], (method, path)
            assert described["summary"], (method, path)
            assert described["tags"], (method, path)


def test_every_post_takes_an_idempotency_key(client: Client) -> None:
    document = orjson.loads(client.get("/openapi.json").content)
    posts = {path: methods["post"] for path, methods in document["paths"].items() if "post" in methods}
    assert len(posts) >= 12
    for path, described in posts.items():
        assert "Idempotency-Key" in [parameter["name"] for parameter in described["parameters"]], path


def test_people_browse_it_without_anything_inline(client: Client) -> None:
    page = client.get("/docs")
    text = page.content.decode()
    assert page.status_code == 200
    assert "<style" not in text
    assert "<script>" not in text
    assert "//" not in text
    script = client.get("/docs?script=")
    assert "/openapi.json" in script.content.decode()
