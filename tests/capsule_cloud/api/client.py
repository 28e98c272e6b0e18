"""A client that speaks JSON with a tenant's key."""

from typing import Any

import orjson
from django.test import Client

from tests.factories import Tenant


class Api:
    """Calls our API in this process, through the whole middleware. A 500 is an answer here, not an exception."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.client = Client(raise_request_exception=False)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The answer to one request. Bytes go as they are; `Idempotency_Key=` is the header Idempotency-Key."""
        sent = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.generic(
            method, path, sent, content_type="application/json", headers=self.tenant.headers | named
        )

    def get(self, path: str, **headers: str) -> Any:
        """GET."""
        return self("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """POST, with an empty object unless a body is given."""
        return self("POST", path, {} if body is None else body, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        """PATCH."""
        return self("PATCH", path, body, **headers)

    def put(self, path: str, body: Any, **headers: str) -> Any:
        """PUT."""
        return self("PUT", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Any:
        """DELETE."""
        return self("DELETE", path, **headers)
