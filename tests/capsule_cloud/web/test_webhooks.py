"""The console's webhooks: what a secret, a failure and a test look like, and that snippets do what they say."""

import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from standardwebhooks import Webhook

from capsule_cloud.web.webhook_snippets import verification
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.webhooks import delivery, selectors, signing
from tenancy.webhooks.models import Delivery, Endpoint
from tests.capsule_cloud.web.conftest import SignIn
from tests.factories import Tenant, add_member
from tests.targets import Target, says
from tests.tenancy.webhooks.conftest import _hang_up, happen, target

__all__ = ["_hang_up", "target"]
Page = Callable[..., str]
URL = "https://hooks.example.com/in?token=hunter2"


def only(tenant: Tenant) -> Endpoint:
    with scope(tenant.organization):
        return Endpoint.objects.get()


def add(post: Page, url: str = URL, **form: Any) -> str:
    return post("webhooks/new/", {"url": url} | form)


def test_an_empty_page_teaches(page: Page) -> None:
    text = page("webhooks/")
    assert "Add your first endpoint" in text
    assert "standardwebhooks" in text
    assert "billing.cap.reached" in text


def test_a_secret_is_shown_once(post: Page, page: Page, tenant: Tenant) -> None:
    text = add(post, rooms=["billing.*"], types=["memory.session.sealed"])
    [secret] = set(re.findall(r"whsec_[A-Za-z0-9+/=]+", text.replace("&#x27;", "'"))) - {"whsec_"}
    endpoint = only(tenant)
    assert secret == signing.unseal(bytes(endpoint.sealed_keys)).secret_text
    assert endpoint.event_types == ["billing.*", "memory.session.sealed"]
    again = page(f"webhooks/{endpoint.pk}/secret/")
    assert "was shown already" in again
    assert secret not in again
    assert "hunter2" not in page("webhooks/") + page(f"webhooks/{endpoint.pk}/")


def test_what_was_typed_wrong_is_said_where_it_stands(owner: Client, home: str) -> None:
    answer = owner.post(f"{home}webhooks/new/", {"url": "http://10.0.0.1/"})
    assert answer.status_code == 422
    assert "The address must begin with https://." in answer.content.decode()


def test_an_endpoint_is_changed(post: Page, page: Page, tenant: Tenant) -> None:
    add(post)
    endpoint = only(tenant)
    assert 'value="https://hooks.example.com/in?token=hunter2"' in page(f"webhooks/{endpoint.pk}/edit/")
    form = {"url": "https://new.example.com/", "description": "CRM", "is_ordered": "on", "projects": tenant.project.pk}
    text = post(f"webhooks/{endpoint.pk}/edit/", form)
    assert "CRM" in text
    changed = only(tenant)
    assert (changed.url, changed.is_ordered, changed.project_ids) == (
        "https://new.example.com/",
        True,
        [tenant.project.pk],
    )


def test_a_test_event_shows_what_came_of_it(post: Page, page: Page, tenant: Tenant, target: Target) -> None:
    add(post, target.url)
    target.behaviour = says(418, b"I am a teapot")
    text = post(f"webhooks/{only(tenant).pk}/test/")
    assert "It goes out within seconds" in text
    assert 'hx-trigger="every 1s"' in text
    delivery.deliver()
    with scope(tenant.organization):
        [sent] = Delivery.objects.all()
    after = page(f"webhooks/deliveries/{sent.pk}/")
    assert "I am a teapot" in after
    assert "hx-trigger" not in after
    assert "If you can read this" in after


def test_the_log_is_filtered_and_an_event_is_sent_again(post: Page, page: Page, tenant: Tenant, target: Target) -> None:
    add(post, target.url)
    happen(tenant, 2)
    delivery.deliver()
    path = f"webhooks/{only(tenant).pk}/"
    assert page(path).count("badge-good") == 3  # the endpoint and two deliveries
    assert "Nothing matches" in page(f"{path}?state=dead")
    assert "Nothing matches" in page(f"{path}?type=billing.cap.reached")
    with scope(tenant.organization):
        first = selectors.deliveries(endpoint_id=only(tenant).pk)[0]
    assert "on its way again" in post(f"webhooks/deliveries/{first.pk}/resend/")
    delivery.deliver()
    assert len(target.received) == 3
    assert "is still on its way" not in page(path)


def test_the_log_goes_on_on_a_second_page(
    post: Page, page: Page, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capsule_cloud.web.webhooks.PAGE_SIZE", 2)
    add(post)
    happen(tenant, 3)
    first = page(f"webhooks/{only(tenant).pk}/")
    more = re.search(r'href="\?(before=[^"]+)" rel="next"', first)
    assert more is not None
    assert page(f"webhooks/{only(tenant).pk}/?{more[1]}").count("memory.session.sealed of ") == 1
    assert page(f"webhooks/{only(tenant).pk}/?before=x", 404)


def test_a_paused_endpoint_says_why_and_is_resumed(post: Page, page: Page, tenant: Tenant) -> None:
    add(post)
    with scope(tenant.organization):
        Endpoint.objects.update(state="paused", state_reason="Nothing arrived since yesterday.")
    assert "Nothing arrived since yesterday." in page("webhooks/")
    text = post(f"webhooks/{only(tenant).pk}/switch/", {"on": "1"})
    assert "The endpoint is active" in text
    assert only(tenant).state == "active"
    assert "is disabled" in post(f"webhooks/{only(tenant).pk}/switch/")


def test_a_secret_is_rotated_and_an_endpoint_replayed_and_deleted(
    post: Page, page: Page, tenant: Tenant, target: Target
) -> None:
    add(post, target.url)
    path = f"webhooks/{only(tenant).pk}/"
    text = post(f"{path}rotate/", {"overlap": "3600"})
    assert "goes on signing until" in text
    assert "Also signed with the secret before" in page(path)
    happen(tenant, 2)
    delivery.deliver()
    since = (timezone.now() - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")
    assert "2 events are on their way" in post(f"{path}replay/", {"since": since})
    assert "There was nothing to send again" in post(f"{path}replay/", {"since": since})
    assert "The endpoint is deleted" in post(f"{path}delete/")
    assert page(path, 404)


def test_members_who_may_not_see_it_find_no_link(page: Page, tenant: Tenant, sign_in: SignIn) -> None:
    for role, may in ((Role.ADMIN, True), (Role.MEMBER, False), (Role.VIEWER, False), (Role.BILLING, False)):
        browser = sign_in(add_member(tenant, role, role.value))
        assert browser.get(f"/o/{tenant.organization.slug}/webhooks/").status_code == (200 if may else 403)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_the_curl_snippet_signs_as_we_do(target: Target) -> None:
    [snippet] = [one.code for one in verification() if one.label == "curl"]
    keys = signing.new_keys()
    script = snippet.replace("http://localhost:9000/hooks", target.url)
    environment = {"CAPSULE_WEBHOOK_SECRET": keys.secret_text, "PATH": "/usr/bin:/bin:/usr/local/bin"}
    subprocess.run(["bash", "-euc", script], env=environment, check=True, timeout=60, capture_output=True)
    [got] = target.received
    assert Webhook(keys.secret_text).verify(got.body, got.headers)["type"] == "billing.cap.reached"


def test_the_python_snippet_is_python() -> None:
    [snippet] = [one.code for one in verification() if one.label == "Python"]
    compile(snippet, "snippet", "exec")
