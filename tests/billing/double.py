"""Stripe's HTTP with answers that a test chooses: for what no honest twin does on purpose."""

import json
import time
from collections.abc import Mapping
from typing import Any

import stripe

from billing.stripe_client import StripeClient

Json = dict[str, Any]


class Double(stripe.HTTPClient):
    """Answers `GET /v1/…` with the object under that path; `failing` makes every request fail with that status."""

    name = "double"

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, Json] = {}
        self.failing: tuple[int, Json, Mapping[str, str]] | None = None
        self.error: Exception | None = None
        self.requests: list[tuple[str, str, Mapping[str, str], str]] = []

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        """What stripe-python would get from the network."""
        self.requests.append((method, url, headers or {}, str(post_data or "")))
        if self.error is not None:
            raise self.error
        if self.failing is not None:
            status, body, answer_headers = self.failing
            return json.dumps(body), status, answer_headers
        path = url.removeprefix("https://api.stripe.com/v1/").partition("?")[0]
        if path not in self.objects:
            missing = {"error": {"type": "invalid_request_error", "code": "resource_missing", "message": "No such"}}
            return json.dumps(missing), 404, {}
        return json.dumps(self.objects[path]), 200, {}

    def close(self) -> None:
        """Nothing is open."""

    @property
    def client(self) -> StripeClient:
        """The gateway, with this behind it."""
        return StripeClient("sk_test_of_the_double", self, lambda customer: int(time.time()))
