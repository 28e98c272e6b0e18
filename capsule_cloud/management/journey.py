"""A new customer's first ten minutes with a running service, over HTTP alone: from sign-up to the audit trail."""

import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from typing import Any

import httpx
from django.urls import reverse

from capsule_cloud.management.browser import Browser, PageFailed
from capsule_cloud.management.conversations import bundled
from tenancy.roles import KeyScope

PASSWORD = "a-long-walk-in-May"  # noqa: S105  # of an account that is made for one run
SCOPES = [KeyScope.MEMORY_READ, KeyScope.MEMORY_WRITE, KeyScope.ORG_READ, KeyScope.AUDIT_READ]
USAGE_ARRIVES_WITHIN = 20.0  # seconds; reads are counted in a spool, which a job ships every two
_SECRET = re.compile(r"cmk_[0-9A-Za-z]{38}")
_MAIL = re.compile(r"<article.*?</article>", re.DOTALL)
_CODE = re.compile(r'<code id="code-[^"]*">([^<]+)</code>')


class JourneyFailed(Exception):
    """The service did not do what it promises; `str()` says at which step, and what happened instead."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that worked: what, how long it took, and what was seen."""

    title: str
    seconds: float
    seen: str


class Journey:
    """One new customer, with an address of their own."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.email = f"ada-{secrets.token_hex(6)}@example.com"
        self.conversations = bundled()
        self.capsules: dict[str, str] = {}  # session id -> capsule id
        self.expected: Counter[str] = Counter()  # meter -> quantity
        self.slug = self.project_slug = ""
        self.browser = Browser(base_url)
        self.api = httpx.Client(base_url=base_url, timeout=30)

    def run(self) -> Iterator[Step]:
        """Take the steps one by one. Raises JourneyFailed at the first that does not work."""
        steps: list[tuple[str, Callable[[], str]]] = [
            ("ask whether the service is alive", self._health),
            ("sign up on the web", self._sign_up),
            ("confirm the address with the mailed code", self._confirm),
            ("create an organization", self._organization),
            ("create a project", self._project),
            ("create an API key, shown once", self._key),
            ("remember six conversations, turn by turn", self._ingest),
            ("confirm a skill that was noticed", self._skill),
            ("seal the sessions into capsules", self._seal),
            ("ask about them and get the right ones", self._recall),
            ("ask as somebody else and get nothing", self._stranger),
            ("ask again as an MCP client", self._mcp),
            ("find every call counted", self._usage),
            ("find every write in the audit trail", self._audit),
        ]
        with self.browser, self.api:
            for title, step in steps:
                begun = time.perf_counter()
                try:
                    seen = step()
                except (PageFailed, httpx.HTTPError, _Unexpected) as failure:
                    raise JourneyFailed(f"{title}: {failure}") from failure
                yield Step(title, time.perf_counter() - begun, seen)

    def _health(self) -> str:
        return f"engine {self._get('/health')['version']} at {self.base_url}"

    def _sign_up(self) -> str:
        form = {"name": "Ada", "email": self.email, "password1": PASSWORD}
        self.browser.submit(reverse("account_signup"), form, arrives_at="account_email_verification_sent")
        return self.email

    def _confirm(self) -> str:
        mails = _MAIL.findall(unescape(self.browser.open(reverse("outbox")).text))
        mail = next((one for one in mails if f"to {self.email}" in one), "")
        code = _CODE.search(mail)
        if code is None:
            raise _Unexpected(f"the outbox has no code for {self.email}")
        path = reverse("account_email_verification_sent")
        self.browser.submit(path, {"code": code.group(1)}, arrives_at="organization_new")
        return "the code was in the development outbox"

    def _organization(self) -> str:
        form = {"name": f"Ada's bakery {self.email[4:10]}", "region": "eu"}
        page = self.browser.submit(reverse("organization_new"), form, arrives_at="home")
        self.slug = page.url.path.split("/")[2]
        return self.slug

    def _project(self) -> str:
        form = {"name": "Shop assistant"}
        page = self.browser.submit(reverse("project_new", args=[self.slug]), form, arrives_at="project")
        self.project_slug = page.url.path.split("/")[4]
        return self.project_slug

    def _key(self) -> str:
        path = reverse("key_new", args=[self.slug])
        option = re.search(r'<option value="([0-9a-f-]{36})"[^>]*>\s*Shop assistant', self.browser.open(path).text)
        if option is None:
            raise _Unexpected("the form does not offer the new project")
        form = {"name": "Laptop", "project": option.group(1), "scopes": [str(one) for one in SCOPES]}
        page = self.browser.submit(path, form, arrives_at="key_secret")
        secret = _SECRET.search(page.text)
        if secret is None:
            raise _Unexpected("the page does not show the key")
        if _SECRET.search(self.browser.open(page.url.path).text):
            raise _Unexpected("the page shows the key a second time")
        self.api.headers["Authorization"] = f"Bearer {secret.group()}"
        return f"{secret.group()[:10]}…"

    def _ingest(self) -> str:
        for conversation in self.conversations:
            for n, turn in enumerate(conversation.turns, start=1):
                body = {
                    "user_id": conversation.user_id,
                    "user_message": turn.user,
                    "assistant_response": turn.assistant,
                }
                answer = self._post(f"/api/v1/sessions/{conversation.session_id}/ingest", body)
                _expect(answer["total_turns"], 2 * n, f"turns in {conversation.session_id}")
                self.expected["ingest"] += 1
        return f"{self.expected['ingest']} turns of {len({one.user_id for one in self.conversations})} people"

    def _skill(self) -> str:
        pending = self._get("/api/v1/capsules/pending-triggers", user_id="dana")["triggers"]
        self.expected["read"] += 1
        noticed = next((one for one in pending if one["session_id"] == "review-style"), None)
        if noticed is None:
            raise _Unexpected("no skill was noticed in the review")
        path = f"/api/v1/sessions/review-style/triggers/{noticed['event_id']}/confirm"
        self._post(path, {"resolution": "extract_skill"})
        self.expected["write"] += 1
        return str(noticed["skill_draft"]["suggested_name"])

    def _seal(self) -> str:
        for one in self.conversations:
            body = {"title": one.title, "tags": one.tags, "facts": one.facts, "summary": one.summary}
            sealed = self._post(f"/api/v1/sessions/{one.session_id}/seal", body)
            _expect(sealed["turn_count"], 2 * len(one.turns), f"turns in the capsule of {one.session_id}")
            self.capsules[one.session_id] = sealed["capsule_id"]
            self.expected["seal"] += 1
        return f"{len(self.capsules)} capsules"

    def _recall(self) -> str:
        questions = [(one, question) for one in self.conversations for question in one.questions]
        slowest = 0.0
        for conversation, question in questions:
            begun = time.perf_counter()
            found = self._get("/api/v1/recall", q=question.ask, user_id=conversation.user_id)
            slowest = max(slowest, time.perf_counter() - begun)
            self.expected["recall"] += 1
            _expect(
                found["sources"][:1], [self.capsules[conversation.session_id]], f"first source for {question.ask!r}"
            )
            if question.answer not in found["prompt_injection"]:
                raise _Unexpected(f"{question.ask!r} did not bring {question.answer!r}")
        return f"{len(questions)} of {len(questions)} questions, the slowest in {1000 * slowest:.0f} ms"

    def _stranger(self) -> str:
        for conversation in (one for one in self.conversations if one.user_id != "sam"):
            found = self._get("/api/v1/recall", q=conversation.questions[0].ask, user_id="sam")
            self.expected["recall"] += 1
            _expect(set(found["sources"]) - {self.capsules["sunday-dinner"]}, set(), "capsules of others")
        return "one end user never sees another's memory"

    def _mcp(self) -> str:
        conversation = self.conversations[0]
        question = conversation.questions[0]
        arguments = {"query": question.ask, "user_id": conversation.user_id}
        call = {"name": "capsule_recall", "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        result = self._post("/mcp", message)["result"]
        self.expected["recall"] += 1
        if result["isError"] or question.answer not in result["content"][0]["text"]:
            raise _Unexpected(f"the tool answered {result['content'][0]['text'][:200]!r}")
        return "capsule_recall found the same"

    def _usage(self) -> str:
        deadline = time.monotonic() + USAGE_ARRIVES_WITHIN
        while True:
            points = self._get("/v1/usage", group_by="meter", grain="day")["data"]
            counted: Counter[str] = Counter()
            for point in points:
                counted[point["meter"]] += point["quantity"]
            if counted == self.expected or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        _expect(dict(counted), dict(self.expected), "usage")
        return ", ".join(f"{quantity} {meter}" for meter, quantity in sorted(counted.items()))

    def _audit(self) -> str:
        events: list[dict[str, Any]] = []
        page: dict[str, Any] = {"next_cursor": ""}
        while page["next_cursor"] is not None:
            page = self._get("/v1/audit/events", cursor=page["next_cursor"], limit="200")
            events += page["data"]
        counted = Counter(event["action"] for event in events)
        wanted = {
            "organization.created": 1,
            "organization.project.created": 1,
            "organization.api_key.created": 1,
            "memory.session.ingested": self.expected["ingest"],
            "memory.trigger.resolved": 1,
            "memory.session.sealed": self.expected["seal"],
        }
        _expect({action: counted[action] for action in wanted}, wanted, "audit events")
        if not all(event["context"]["request_id"] for event in events):
            raise _Unexpected("an event does not say which request it came from")
        return f"{len(events)} events, each with who, what, from where"

    def _get(self, path: str, **query: str) -> Any:
        return _json(self.api.get(path, params=query))

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return _json(self.api.post(path, json=body))


class _Unexpected(Exception):
    """An answer arrived and is not the promised one."""


def _json(answer: httpx.Response) -> Any:
    if answer.is_error:
        raise _Unexpected(
            f"{answer.request.method} {answer.url.path} answered {answer.status_code}: {answer.text[:300]}"
        )
    return answer.json()


def _expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise _Unexpected(f"{what}: {wanted} expected, {found} found")
