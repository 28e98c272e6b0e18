"""Plain routes: a handler with what it takes, needs and answers; its URL, checks and document come from that."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from billing.metering.meters import Meter
from billing.metering.services import Use, record, spool
from billing.quotas.services import admit, undo
from capsule_cloud.api import limits, receipts
from capsule_cloud.api.auth import demand, principal_of
from capsule_cloud.api.errors import ApiError
from capsule_cloud.api.fields import Field, Record, parse
from capsule_cloud.api.json_bodies import parse_json
from capsule_cloud.memory.services.reads import Reader
from tenancy.access import KeyPrincipal
from tenancy.roles import Right


@dataclass(slots=True)
class Call:
    """One request to a plain route: who calls, and what was sent, already checked."""

    request: HttpRequest
    principal: KeyPrincipal
    query: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    read_as: str = ""  # what a recall is called in the audit trail, where it is for something else

    @property
    def reader(self) -> Reader | None:
        """Who reads, where the project wants its reads in the audit trail."""
        who = self.principal
        if not who.audit_reads:
            return None
        return Reader(who.organization_id, who.project_id, who.project_slug, who.actor)

    @property
    def project(self) -> UUID:
        """The project that the key names."""
        return self.principal.project_id

    def _use(self, meter: Meter, quantity: int = 1, end_user: str = "") -> Use:
        who = self.principal
        return Use(who.organization_id, who.project_id, who.key_id, meter, quantity, end_user)

    @property
    def _stamp(self) -> tuple[Any, ...]:
        """What changes when the caps do."""
        who = self.principal
        return who.operation_limit, who.end_user_limit, who.period_end, who.caps_version

    def count_read(self, meter: Meter, *, end_user: str = "") -> None:
        """Count a read, once it is done and before its answer goes out. It goes on at a cap. Raises SpoolFull."""
        use = self._use(meter, 1, end_user)
        receipt = admit(use, stamp=self._stamp)
        spool(use)
        receipts.note(self.request, receipt)

    def count_write(self, meter: Meter, *, end_user: str = "") -> None:
        """Count a write that draws on no allowance, in its transaction.

        Raises QuotaReached where the end user is one too many, or `rate_limited` as `metered` does.
        """
        use = self._use(meter, 1, end_user)
        receipt = admit(use, stamp=self._stamp)
        if receipt.is_throttled:
            self.weigh(limits.THROTTLED_WEIGHT)
        record(use)
        receipts.note(self.request, receipt)

    @contextmanager
    def metered(self, meter: Meter, quantity: int = 1, *, end_user: str = "", session_id: str = "") -> Iterator[Use]:
        """Take what a write draws on an allowance before it happens, and put it back if it does not.

        `session_id` says whose write it is where no end user is named. Gives what is to be recorded in the write's
        transaction. Open it outside of that, so that counters are not held meanwhile. Raises QuotaReached, or
        `rate_limited` where the customer chose to slow down.
        """
        use = self._use(meter, quantity, end_user)
        receipt = admit(use, stamp=self._stamp, session_id=session_id)
        try:
            if receipt.is_throttled:
                self.weigh(limits.THROTTLED_WEIGHT)
            yield use
        except BaseException:
            undo(receipt)
            raise
        receipts.note(self.request, receipt)

    def weigh(self, weight: int) -> None:
        """Count this call as `weight` requests, before it does what costs that much. Raises `rate_limited`."""
        limits.weigh(self.request, self.principal, weight)


_NAME = re.compile(r"\{(\+?)(\w+)\}")
Handler = Callable[..., HttpResponse]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    handler: Handler
    method: str
    path: str  # with {names}, without the leading slash; {+name} may hold slashes (RFC 6570)
    right: Right
    query: Sequence[Field]
    body: Record | None  # JSON
    form: Record | None  # multipart/form-data, with a file named `file`
    headers: Mapping[str, str]  # that the handler reads itself: name -> what it is for
    answer: Mapping[str, Any]  # content type -> JSON Schema
    is_parkable: bool  # answers 202, and happens later, where the customer chose that for writes at a cap
    is_way_out: bool  # open to an organization that has not paid: it takes its data away

    @property
    def path_names(self) -> list[str]:
        """The names in the path."""
        return [name for _, name in _NAME.findall(self.path)]

    @property
    def documented_path(self) -> str:
        """The path as OpenAPI writes it."""
        return self.path.replace("{+", "{")

    def run(self, request: HttpRequest, path: Mapping[str, str]) -> HttpResponse:
        """Check the key's right and the input, then answer."""
        principal = principal_of(request)
        demand(principal, self.right, is_way_out=self.is_way_out)
        call = Call(request, principal)
        if self.query:
            call.query = parse(self.query, request.GET, "query")
        if self.body is not None:
            call.body = parse(self.body.fields, _json_object(request), "body")
        elif self.form is not None:
            call.body = parse(self.form.fields, _form(request), "body")
        return self.handler(call, **path)


def operation(
    method: str,
    path: str,
    right: Right,
    *,
    query: Sequence[Field] = (),
    body: Sequence[Field] | None = None,
    form: Sequence[Field] | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    answer: Mapping[str, Any],
    files: Mapping[str, Any] = MappingProxyType({}),
    is_parkable: bool = False,
    is_way_out: bool = False,
) -> Callable[[Handler], Operation]:
    """Make a handler `(call, **path parameters) -> HttpResponse` the route `method /path`.

    `answer` is the JSON Schema of what it answers, `files` those of other content types.
    """

    def make(handler: Handler) -> Operation:
        return Operation(
            handler=handler,
            method=method,
            path=path,
            right=right,
            query=query,
            body=None if body is None else Record(fields=tuple(body)),
            form=None if form is None else Record(fields=tuple(form)),
            headers=headers,
            answer={"application/json": answer, **files},
            is_parkable=is_parkable,
            is_way_out=is_way_out,
        )

    return make


def routes(operations: Sequence[Operation]) -> list[URLPattern]:
    """The URLs of some operations; those of one path share a view."""
    by_path: dict[str, dict[str, Operation]] = {}
    for one in operations:
        by_path.setdefault(one.path, {})[one.method] = one
    return [
        path(_NAME.sub(lambda name: f"<{'path' if name[1] else 'str'}:{name[2]}>", template), _view(methods))
        for template, methods in sorted(by_path.items(), key=lambda item: "{" in item[0])  # capsules/merge is no id
    ]


class Shortcut:
    """Finds the view of a path among some routes as Django's resolver does, without trying one after the other (45 µs).

    Only routes with the same first word and as many slashes are tried. Those whose names may hold slashes are left to
    Django.
    """

    def __init__(self, prefix: str, patterns: Sequence[URLPattern]) -> None:
        self._prefix = prefix
        self._groups: dict[tuple[str, int], list[tuple[re.Pattern[str], Callable[..., HttpResponse]]]] = {}
        for one in patterns:
            route = str(one.pattern)
            if "<path:" not in route:
                self._groups.setdefault(_group(route), []).append((one.pattern.regex, one.callback))

    def find(self, path: str) -> tuple[Callable[..., HttpResponse], dict[str, str]] | None:
        """The view and the names in the path, or None: ask Django."""
        if path.startswith(self._prefix):
            rest = path[len(self._prefix) :]
            for pattern, view in self._groups.get(_group(rest), ()):
                if found := pattern.match(rest):
                    return view, found.groupdict()
        return None


def _group(route: str) -> tuple[str, int]:
    return route.partition("/")[0], route.count("/")


def reply(data: Any, status: int = HTTPStatus.OK) -> HttpResponse:
    """A JSON answer."""
    return HttpResponse(orjson.dumps(data), status=status, content_type="application/json")


def _view(methods: Mapping[str, Operation]) -> Callable[..., HttpResponse]:
    allowed = ", ".join(methods)

    def view(request: HttpRequest, **path: str) -> HttpResponse:
        one = methods.get(request.method or "")
        if one is None:
            raise ApiError("method_not_allowed", "Method Not Allowed", headers={"Allow": allowed})
        return one.run(request, path)

    view.operations = methods  # type: ignore[attr-defined]  # for the tests that walk the URLs
    return view


def _form(request: HttpRequest) -> Mapping[str, Any]:
    if any("\ufffd" in text for text in request.POST.values()):  # what Django reads where bytes are no UTF-8
        raise ApiError("bad_request", "The form's text must be UTF-8.")
    return request.POST


def _json_object(request: HttpRequest) -> dict[str, Any]:
    if not request.body:
        raise ApiError("invalid", [{"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}])
    try:
        body = parse_json(request.body)
    except orjson.JSONDecodeError as error:
        problem = {"type": "json_invalid", "loc": ["body", error.pos], "msg": "JSON decode error", "input": {}}
        raise ApiError("invalid", [problem | {"ctx": {"error": error.msg}}]) from None
    if not isinstance(body, dict):
        kind = {"type": "dict_type", "loc": ["body"], "msg": "Input should be a valid dictionary", "input": None}
        raise ApiError("invalid", [kind])
    return body
