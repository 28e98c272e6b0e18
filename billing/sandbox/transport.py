"""Stripe's HTTP, without a network: stripe-python works on it unchanged."""

import base64
import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import stripe
from django.db import transaction

from billing.sandbox import contract, expansion, forms, guard, ids, keys, routing
from billing.sandbox.models import Answer
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.store import Books, render

log = logging.getLogger("sandbox")
LONGEST_KEY = 255


class SandboxTransport(stripe.HTTPClient):
    """Answers what stripe-python would send to api.stripe.com, in this process, from our own database.

    `accounts` says which secret key opens which account; without it, the installation's own key opens its own account.
    Raises ImproperlyConfigured where a key of Stripe's is set.
    """

    name = "sandbox"

    def __init__(self, accounts: Mapping[str, str] | None = None) -> None:
        super().__init__()
        guard.refuse_beside_stripe()
        self.accounts = accounts or {keys.secret_key(): keys.ACCOUNT}

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        """Answer one request with body, status and headers."""
        given = {name.lower(): value for name, value in (headers or {}).items()}
        request_id = f"req_{ids.token(14)}"
        try:
            body, status = self._answer(method, url, given, post_data or "")
        except Refusal as refusal:
            body, status = _error(refusal), refusal.status
        log.debug("sandbox.answered method=%s path=%s status=%d", method, urlsplit(url).path, status)
        return body, status, {"Request-Id": request_id, "Stripe-Version": contract.version()}

    def close(self) -> None:
        """Nothing is open."""

    def _answer(self, method: str, url: str, headers: Mapping[str, str], post_data: str) -> tuple[str, int]:
        account = self._account(headers)
        parts = urlsplit(url)
        operation, path = routing.find(method, parts.path)
        try:
            form = forms.parse("&".join(part for part in (parts.query, post_data) if part))
        except forms.Unreadable as unreadable:
            raise Refusal(f"Invalid form: {unreadable}", param=str(unreadable)) from unreadable
        key = headers.get("idempotency-key") if method.lower() == "post" else None
        if key is not None and not 0 < len(key) <= LONGEST_KEY:
            raise Refusal(f"An Idempotency-Key has between 1 and {LONGEST_KEY} characters.")
        with transaction.atomic():
            books = Books(account)
            if method.lower() != "get":
                books.lock()
            if key is None:
                return perform(books, operation, path, form)
            return _once(books, key, operation, path, form)

    def _account(self, headers: Mapping[str, str]) -> str:
        kind, _, credential = headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":  # the key as the user's name, as curl and the CLI may send it
            credential = base64.b64decode(credential).decode().partition(":")[0]
        if not credential:
            raise Refusal("You did not provide an API key.", status=401)
        if credential not in self.accounts:
            hidden = f"{credential[:8]}{'*' * 12}{credential[-4:]}"
            raise Refusal(f"Invalid API Key provided: {hidden}", status=401)
        account = self.accounts[credential]
        wanted = headers.get("stripe-account")
        if wanted and wanted != account:
            message = f"The provided key does not have access to account '{wanted}' (or that account does not exist)."
            raise Refusal(message, status=403, code="account_invalid")
        asked = headers.get("stripe-version", contract.version())
        if asked != contract.version():
            raise Refusal(f"Invalid Stripe API version: {asked}. The sandbox speaks {contract.version()}.")
        return account


def perform(books: Books, operation: str, path: Mapping[str, str], form: Json) -> tuple[str, int]:
    """Do the operation, and return body and status. A refusal takes everything back, except where it says it keeps."""
    with transaction.atomic():
        try:
            params = contract.read(operation, form)
            expand = params.pop("expand", [])
            found = routing.ROUTES[operation](books, params, **path)
            answer = render(expansion.expanded(books, found, expand))
            contract.check_answer(operation, answer)
        except Refusal as refusal:
            if not refusal.keeps:
                raise
            return _error(refusal), refusal.status
        return json.dumps(answer), 200


def _once(books: Books, key: str, operation: str, path: Mapping[str, str], form: Json) -> tuple[str, int]:
    """Do the operation unless the key has an answer already. Raises Refusal where the key was another request's."""
    request = hashlib.sha256(json.dumps([operation, dict(path), form], sort_keys=True).encode()).hexdigest()
    known = Answer.objects.filter(account=books.account, key=key).first()
    if known and known.request != request:
        message = (
            f"Keys for idempotent requests can only be used with the same parameters they were first used with: {key}"
        )
        raise Refusal(message, kind="idempotency_error")
    if known:
        return known.body, known.status
    body, status = perform(books, operation, path, form)
    Answer.objects.create(account=books.account, key=key, request=request, status=status, body=body)
    return body, status


def _error(refusal: Refusal) -> str:
    return json.dumps({"error": refusal.error})
