"""Who may open which address: one row for every method of every URL. `test_every_url_is_guarded` walks the URLs."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tenancy.roles import KeyScope, Right

TURN = {"user_message": "x", "assistant_response": "y"}
NEW_KEY = {"name": "New", "scopes": ["keys:write"]}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@dataclass(frozen=True, slots=True)
class ApiRow:
    """Without a key 401; without `scope` 403; with it alone `ok`; a stranger who names our things gets `stranger`."""

    method: str
    path: str
    scope: KeyScope | None
    body: Any = None
    ok: int = 200
    stranger: int | None = None  # None: the address names nothing of anybody's


@dataclass(frozen=True, slots=True)
class ConsoleRow:
    """Anonymous: to sign-in. A stranger: 404. A member without `right`: 403. With it: let in."""

    method: str
    path: str  # below /o/<slug>/; a POST sends what follows the question mark as a form
    right: Right


READ, WRITE, DELETE = KeyScope.MEMORY_READ, KeyScope.MEMORY_WRITE, KeyScope.MEMORY_DELETE
ORG_READ, ORG_WRITE = KeyScope.ORG_READ, KeyScope.ORG_WRITE
MONEY_READ, MONEY_WRITE = KeyScope.BILLING_READ, KeyScope.BILLING_WRITE
HOOKS_READ, HOOKS_WRITE = KeyScope.WEBHOOKS_READ, KeyScope.WEBHOOKS_WRITE
SSO_READ, SSO_MANAGE = KeyScope.SSO_READ, KeyScope.SSO_MANAGE
TODAY = {"since": datetime.now(UTC).isoformat()}
WISH = {"plan": "pro"}
STORE = {"name": "Logs", "kind": "https", "options": {"url": "https://logs.example.com/in"}}
PAUSE = {"is_paused": True}
VIEW = {"name": "Staff", "filters": {"is_staff": "on"}}
STREAM = {"name": "SIEM", "kind": "https", "options": {"url": "https://siem.example.com/in"}}
CAP = {"allowance": "operations", "amount": 1000}

API = (
    # The engine's routes and their extras
    ApiRow("POST", "/api/v1/sessions", WRITE, body={}),
    ApiRow("POST", "/api/v1/sessions/{session_id}/ingest", WRITE, body=TURN),  # a stranger gets a session of their own
    ApiRow("GET", "/api/v1/sessions/{session_id}/snapshot", READ, stranger=404),
    ApiRow("POST", "/api/v1/sessions/{session_id}/seal", WRITE, body={}, stranger=404),
    ApiRow("GET", "/api/v1/sessions/{session_id}/triggers", READ, stranger=404),
    ApiRow(
        "POST",
        "/api/v1/sessions/{session_id}/triggers/{event_id}/confirm",
        WRITE,
        body={"resolution": "ignore"},
        stranger=404,
    ),
    ApiRow("GET", "/api/v1/recall?query=x", READ),
    ApiRow("GET", "/api/v1/capsules", READ),
    ApiRow("GET", "/api/v1/capsules/pending-triggers", READ),
    ApiRow("POST", "/api/v1/capsules/merge", WRITE, body={}, ok=400),
    ApiRow("POST", "/api/v1/capsules/import", WRITE, body={}, ok=422),
    ApiRow("GET", "/api/v1/capsules/{capsule_id}", READ, stranger=404),
    ApiRow("DELETE", "/api/v1/capsules/{capsule_id}", DELETE, stranger=404),
    ApiRow("GET", "/api/v1/capsules/{capsule_id}/export", READ, stranger=404),
    ApiRow("GET", "/api/v1/capsules/{capsule_id}/prompt-snippet", READ, stranger=404),
    ApiRow("POST", "/api/v1/capsules/{capsule_id}/fork", WRITE, body={"new_user_id": "bob"}, stranger=404),
    ApiRow("GET", "/api/v1/capsules/{capsule_id}/diff/{other_id}", READ, stranger=404),
    ApiRow("PUT", "/api/v1/capsules/{capsule_id}/pin", WRITE, stranger=404),
    ApiRow("DELETE", "/api/v1/capsules/{capsule_id}/pin", WRITE, stranger=404),
    ApiRow("PUT", "/api/v1/capsules/{capsule_id}/tags", WRITE, body={"tags": []}, stranger=404),
    ApiRow("PUT", "/api/v1/capsules/{capsule_id}/expiry", WRITE, body={}, stranger=404),
    ApiRow("GET", "/api/v1/users", READ),
    ApiRow("DELETE", "/api/v1/users/{user_id}", DELETE),  # deletes nothing of anybody else's, and counts zero
    # The control plane
    ApiRow("GET", "/v1/organization", ORG_READ),
    ApiRow("PATCH", "/v1/organization", ORG_WRITE, body={}),
    ApiRow("GET", "/v1/projects", ORG_READ),
    ApiRow("POST", "/v1/projects", ORG_WRITE, body={"name": "New"}, ok=201),
    ApiRow("GET", "/v1/projects/{project_id}", ORG_READ, stranger=404),
    ApiRow("PATCH", "/v1/projects/{project_id}", ORG_WRITE, body={}, stranger=404),
    ApiRow("POST", "/v1/projects/{project_id}/archive", ORG_WRITE, body={}, stranger=404),
    ApiRow("GET", "/v1/projects/{project_id}/roles", ORG_READ, stranger=404),
    ApiRow("PUT", "/v1/projects/{project_id}/roles/{user_id}", ORG_WRITE, body={"role": "viewer"}, stranger=404),
    ApiRow("DELETE", "/v1/projects/{project_id}/roles/{user_id}", ORG_WRITE, ok=404, stranger=404),
    ApiRow("GET", "/v1/members", ORG_READ),
    ApiRow("PATCH", "/v1/members/{user_id}", ORG_WRITE, body={"role": "viewer"}, ok=403, stranger=404),  # the owner
    ApiRow("DELETE", "/v1/members/{user_id}", ORG_WRITE, ok=403, stranger=404),
    ApiRow("GET", "/v1/invitations", ORG_READ),
    ApiRow("POST", "/v1/invitations", ORG_WRITE, body={"email": "new@example.com"}, ok=201),
    ApiRow("DELETE", "/v1/invitations/{invitation_id}", ORG_WRITE, stranger=404),
    ApiRow("POST", "/v1/invitations/{invitation_id}/resend", ORG_WRITE, body={}, stranger=404),
    ApiRow("GET", "/v1/keys", ORG_READ),
    ApiRow("POST", "/v1/keys", KeyScope.KEYS_WRITE, body=NEW_KEY, ok=201),
    ApiRow("GET", "/v1/keys/{key_id}", ORG_READ, stranger=404),
    ApiRow("DELETE", "/v1/keys/{key_id}", KeyScope.KEYS_WRITE, stranger=404),
    ApiRow("POST", "/v1/keys/{key_id}/rotate", KeyScope.KEYS_WRITE, body={}, ok=201, stranger=404),
    ApiRow("GET", "/v1/usage", ORG_READ),
    ApiRow("GET", "/v1/usage/events", ORG_READ),
    ApiRow("POST", "/v1/usage/events", WRITE, body=[], ok=403),  # the free plan has no data planes of its own
    ApiRow("GET", "/v1/entitlements", ORG_READ, ok=403),  # the free plan has no data planes of its own
    ApiRow("GET", "/v1/billing", MONEY_READ),
    ApiRow("GET", "/v1/billing/plans", MONEY_READ),
    ApiRow("GET", "/v1/billing/contract", MONEY_READ, ok=404),  # nobody has signed one
    ApiRow("GET", "/v1/billing/credits", MONEY_READ),
    ApiRow("GET", "/v1/billing/credits/entries", MONEY_READ),
    ApiRow("GET", "/v1/billing/credits/top-ups", MONEY_READ),
    ApiRow("POST", "/v1/billing/credits/top-ups", MONEY_WRITE, body={"amount": 0}, ok=422),
    ApiRow("GET", "/v1/billing/credits/auto-top-up", MONEY_READ),
    ApiRow("POST", "/v1/billing/credits/auto-top-up", MONEY_WRITE, body={}, ok=422),
    ApiRow("GET", "/v1/billing/bills", MONEY_READ),
    ApiRow("GET", "/v1/billing/invoices", MONEY_READ),
    ApiRow("GET", "/v1/billing/invoices/{invoice_id}", MONEY_READ, stranger=404),
    ApiRow("GET", "/v1/billing/invoices/{invoice_id}/statement", MONEY_READ, stranger=404),
    ApiRow("GET", "/v1/billing/invoices/{invoice_id}/events", MONEY_READ, stranger=404),
    ApiRow("GET", "/v1/billing/lines/{line_id}", MONEY_READ, stranger=404),
    ApiRow("GET", "/v1/billing/lines/{line_id}/events", MONEY_READ, stranger=404),
    ApiRow("GET", "/v1/billing/caps", MONEY_READ),
    ApiRow("POST", "/v1/billing/caps", MONEY_WRITE, body=CAP),
    ApiRow("DELETE", "/v1/billing/caps/{cap_id}", MONEY_WRITE, ok=204, stranger=404),
    ApiRow("GET", "/v1/billing/parked", MONEY_READ),
    ApiRow("POST", "/v1/billing/parked/{write_id}/retry", WRITE, stranger=404),
    ApiRow("DELETE", "/v1/billing/parked/{write_id}", DELETE, ok=204, stranger=404),
    ApiRow("GET", "/v1/billing/alerts", MONEY_READ),
    ApiRow("POST", "/v1/billing/alerts", MONEY_WRITE, body={"allowance": "operations", "percents": [90]}),
    ApiRow("GET", "/v1/billing/notices", MONEY_READ),
    ApiRow("POST", "/v1/billing/notices/{notice_id}/dismiss", MONEY_WRITE, ok=204, stranger=404),
    ApiRow("GET", "/v1/billing/details", MONEY_READ),
    ApiRow("PATCH", "/v1/billing/details", MONEY_WRITE, body={"po_number": "x" * 31}, ok=422),
    ApiRow("POST", "/v1/billing/tax-ids", MONEY_WRITE, body={}, ok=422),
    ApiRow("DELETE", "/v1/billing/tax-ids/{tax_id}", MONEY_WRITE, ok=409),
    ApiRow("GET", "/v1/billing/cards", MONEY_READ),
    ApiRow("GET", "/v1/billing/seats", MONEY_READ, ok=409),
    ApiRow("POST", "/v1/billing/seats", MONEY_WRITE, body={"token": "x"}, ok=422),
    ApiRow("PATCH", "/v1/billing/seats", MONEY_WRITE, body={"policy": "used"}, ok=204),
    ApiRow("POST", "/v1/billing/trial", MONEY_WRITE, body={"plan": "free"}, ok=422),
    ApiRow("POST", "/v1/billing/promotion-code", MONEY_WRITE, body={"code": "x"}, ok=409),
    ApiRow("POST", "/v1/billing/sandbox/advance", MONEY_WRITE, body={"days": 1}, ok=409),
    # On the free plan there is nothing to change yet
    ApiRow("POST", "/v1/billing/checkout", MONEY_WRITE, body={"plan": "free"}, ok=422),
    ApiRow("POST", "/v1/billing/portal", MONEY_WRITE, ok=409),
    ApiRow("POST", "/v1/billing/preview", MONEY_WRITE, body=WISH, ok=409),
    ApiRow("POST", "/v1/billing/change", MONEY_WRITE, body={"token": "x"}, ok=422),
    ApiRow("POST", "/v1/billing/downgrade", MONEY_WRITE, body=WISH, ok=409),
    ApiRow("DELETE", "/v1/billing/downgrade", MONEY_WRITE, ok=409),
    ApiRow("POST", "/v1/billing/cancel", MONEY_WRITE, ok=409),
    ApiRow("POST", "/v1/billing/resume", MONEY_WRITE, ok=409),
    ApiRow("GET", "/v1/audit/events", KeyScope.AUDIT_READ),
    ApiRow("GET", "/v1/audit/events/{audit_event_id}", KeyScope.AUDIT_READ, stranger=404),
    ApiRow("GET", "/v1/audit/views", KeyScope.AUDIT_READ),
    ApiRow("POST", "/v1/audit/views", KeyScope.AUDIT_READ, body=VIEW, ok=201),
    ApiRow("DELETE", "/v1/audit/views/{audit_view_id}", KeyScope.AUDIT_READ, ok=204, stranger=404),
    ApiRow("POST", "/v1/audit/erasures", KeyScope.AUDIT_ERASE, body={}, ok=422),
    ApiRow("GET", "/v1/audit/exports", KeyScope.AUDIT_EXPORT),
    ApiRow("POST", "/v1/audit/exports", KeyScope.AUDIT_EXPORT, body={}, ok=202),
    ApiRow("GET", "/v1/audit/exports/{audit_export_id}", KeyScope.AUDIT_EXPORT, stranger=404),
    ApiRow("DELETE", "/v1/audit/exports/{audit_export_id}", KeyScope.AUDIT_EXPORT, ok=204, stranger=404),
    ApiRow("POST", "/v1/audit/exports/{audit_export_id}/send", KeyScope.AUDIT_EXPORT, ok=202, stranger=404),
    ApiRow("GET", "/v1/audit/exports/{audit_export_id}/files/{name}?link={link}", KeyScope.AUDIT_EXPORT, stranger=404),
    ApiRow("GET", "/v1/audit/targets", KeyScope.AUDIT_EXPORT),
    ApiRow("POST", "/v1/audit/targets", KeyScope.AUDIT_EXPORT, body=STORE, ok=201),
    ApiRow("GET", "/v1/audit/targets/{audit_target_id}", KeyScope.AUDIT_EXPORT, stranger=404),
    ApiRow("PATCH", "/v1/audit/targets/{audit_target_id}", KeyScope.AUDIT_EXPORT, body={}, stranger=404),
    ApiRow("DELETE", "/v1/audit/targets/{audit_target_id}", KeyScope.AUDIT_EXPORT, ok=409, stranger=404),
    ApiRow("POST", "/v1/audit/targets/{audit_target_id}/test", KeyScope.AUDIT_EXPORT, stranger=404),
    ApiRow("GET", "/v1/audit/schedules", KeyScope.AUDIT_EXPORT),
    ApiRow("POST", "/v1/audit/schedules", KeyScope.AUDIT_EXPORT, body={}, ok=422),
    ApiRow("PATCH", "/v1/audit/schedules/{audit_schedule_id}", KeyScope.AUDIT_EXPORT, body=PAUSE, stranger=404),
    ApiRow("DELETE", "/v1/audit/schedules/{audit_schedule_id}", KeyScope.AUDIT_EXPORT, ok=204, stranger=404),
    ApiRow("GET", "/v1/audit/streams", KeyScope.AUDIT_EXPORT),
    ApiRow("POST", "/v1/audit/streams", KeyScope.AUDIT_EXPORT, body=STREAM, ok=201),
    ApiRow("GET", "/v1/audit/streams/{audit_stream_id}", KeyScope.AUDIT_EXPORT, stranger=404),
    ApiRow("PATCH", "/v1/audit/streams/{audit_stream_id}", KeyScope.AUDIT_EXPORT, body={}, stranger=404),
    ApiRow("DELETE", "/v1/audit/streams/{audit_stream_id}", KeyScope.AUDIT_EXPORT, ok=204, stranger=404),
    ApiRow("POST", "/v1/audit/streams/{audit_stream_id}/pause", KeyScope.AUDIT_EXPORT, stranger=404),
    ApiRow("POST", "/v1/audit/streams/{audit_stream_id}/resume", KeyScope.AUDIT_EXPORT, stranger=404),
    ApiRow("POST", "/v1/audit/streams/{audit_stream_id}/rotate", KeyScope.AUDIT_EXPORT, body={}, ok=201, stranger=404),
    ApiRow(
        "POST",
        "/v1/audit/streams/{audit_stream_id}/replay",
        KeyScope.AUDIT_EXPORT,
        body={"seq": 0},
        ok=202,
        stranger=404,
    ),
    ApiRow("POST", "/v1/audit/streams/{audit_stream_id}/test", KeyScope.AUDIT_EXPORT, stranger=404),
    ApiRow("GET", "/v1/audit/streams/{audit_stream_id}/deliveries", KeyScope.AUDIT_EXPORT, stranger=404),
    ApiRow("GET", "/v1/audit/streams/{audit_stream_id}/dead-letters", KeyScope.AUDIT_EXPORT, stranger=404),
    ApiRow("POST", "/v1/audit/dead-letters/{dead_letter_id}/resend", KeyScope.AUDIT_EXPORT, stranger=404),
    ApiRow("GET", "/v1/audit/checkpoint", KeyScope.AUDIT_READ),
    ApiRow("GET", "/v1/audit/events/{audit_event_id}/proof", KeyScope.AUDIT_READ, stranger=404),
    ApiRow("GET", "/v1/audit/consistency?from=1", KeyScope.AUDIT_READ),
    ApiRow("GET", "/v1/webhooks/event-types", HOOKS_READ),
    ApiRow("GET", "/v1/webhooks/endpoints", HOOKS_READ),
    ApiRow("POST", "/v1/webhooks/endpoints", HOOKS_WRITE, body={"url": "https://hooks.example.com/"}, ok=201),
    ApiRow("GET", "/v1/webhooks/endpoints/{endpoint_id}", HOOKS_READ, stranger=404),
    ApiRow("PATCH", "/v1/webhooks/endpoints/{endpoint_id}", HOOKS_WRITE, body={}, stranger=404),
    ApiRow("DELETE", "/v1/webhooks/endpoints/{endpoint_id}", HOOKS_WRITE, ok=204, stranger=404),
    ApiRow("POST", "/v1/webhooks/endpoints/{endpoint_id}/rotate", HOOKS_WRITE, body={}, ok=201, stranger=404),
    ApiRow("POST", "/v1/webhooks/endpoints/{endpoint_id}/test", HOOKS_WRITE, ok=202, stranger=404),
    ApiRow("POST", "/v1/webhooks/endpoints/{endpoint_id}/replay", HOOKS_WRITE, body=TODAY, ok=202, stranger=404),
    ApiRow("GET", "/v1/webhooks/endpoints/{endpoint_id}/deliveries", HOOKS_READ, stranger=404),
    ApiRow("GET", "/v1/webhooks/deliveries/{delivery_id}", HOOKS_READ, stranger=404),
    ApiRow("POST", "/v1/webhooks/deliveries/{delivery_id}/resend", HOOKS_WRITE, ok=202, stranger=404),
    ApiRow("GET", "/v1/sso/domains", SSO_READ),
    ApiRow("POST", "/v1/sso/domains", SSO_MANAGE, body={"domain": "acme.com"}, ok=201),
    ApiRow("GET", "/v1/sso/domains/{domain_id}", SSO_READ, stranger=404),
    ApiRow("POST", "/v1/sso/domains/{domain_id}/check", SSO_MANAGE, ok=429, stranger=404),  # a moment ago already
    ApiRow("DELETE", "/v1/sso/domains/{domain_id}", SSO_MANAGE, ok=204, stranger=404),
    # MCP: any key may talk; each tool asks for its own scope
    ApiRow("POST", "/mcp", None, body=PING),
)
# Addresses that show everybody the same, and why they may.
PUBLIC = {
    "/health": "A load balancer has no key.",
    "/openapi.json": "The document of the API is public.",
    "/docs": "The same document for people.",
    "/": "The front page; signed in, it leads to one's organization.",
    "/sso/": "Whoever signs in by an identity provider begins here.",
    "/outbox/": "It is there in development alone.",
    "/.well-known/audit-keys.json": "Public keys: whoever has an export checks its signatures.",
    "/.well-known/audit-log/checkpoint": "The log of all is one for everybody, and has hashes alone.",
    "/.well-known/audit-log/consistency": "Likewise.",
    "/verify_audit.py": "Whoever checks an export needs no account, and the program has no secrets.",
    "/verify_statement.py": "Whoever checks an invoice needs no account, and the program has no secrets.",
}
# Addresses for machines that sign what they send: without the signature 400, and nothing is kept.
SIGNED = {"/webhooks/stripe": "Stripe's events"}
# Where identity providers and the browsers of their people come, with nobody signed in yet: a provider that is none is
# 404, the other method 405. What an answer must be to open anything is in tests/tenancy/sso.
SIGN_ON = {
    "/sso/saml/{provider_id}/login/": "GET",
    "/sso/saml/{provider_id}/acs/": "POST",
    "/sso/saml/{provider_id}/metadata/": "GET",
    "/sso/saml/{provider_id}/done/{sign_in_id}/": "GET",
    "/sso/oidc/{provider_id}/login/": "GET",
    "/sso/oidc/{provider_id}/callback/": "GET",
    "/sso/oidc/{provider_id}/backchannel-logout/": "POST",
}
# Addresses that are a secret themselves, as Stripe's own pages are: any other one is 404.
SECRET_LINKS = {
    "/sandbox/checkout/{stripe_id}",
    "/sandbox/portal/{stripe_id}",
    "/sandbox/invoice/{stripe_id}/{page}",
    "/sandbox/authenticate/{stripe_id}",
}
# Pages for the browser that has taken a setup link: without one they are not there, and what may be posted says so too.
# Whose link opens what is in tests/capsule_cloud/web/test_sso_guests.py.
GUESTS = {
    "/sso/setup/": "GET",
    "/sso/setup/begin/": "POST",
    "/sso/setup/domains/new/": "POST",
    "/sso/setup/domains/{domain_id}/": "GET",
    "/sso/setup/domains/{domain_id}/check/": "POST",
    "/sso/setup/providers/new/": "POST",
    "/sso/setup/providers/{provider_id}/": "POST",
    "/sso/setup/providers/{provider_id}/restart/": "POST",
    "/sso/setup/{token}/": "GET",
}
# Where staff work: everybody else gets 404 for whatever is under it, signed in or not.
STAFF = "/staff/"
CONSOLE = (
    ConsoleRow("GET", "", Right.ORGANIZATION_READ),
    ConsoleRow("GET", "projects/", Right.PROJECTS_READ),
    ConsoleRow("POST", "projects/new/", Right.PROJECTS_WRITE),
    ConsoleRow("GET", "projects/{project}/", Right.PROJECTS_READ),
    ConsoleRow("POST", "projects/{project}/update/", Right.PROJECTS_WRITE),
    ConsoleRow("GET", "projects/{project}/roles/new/", Right.MEMBERS_WRITE),
    ConsoleRow("POST", "projects/{project}/roles/{user_id}/remove/", Right.MEMBERS_WRITE),
    ConsoleRow("POST", "projects/{project}/archive/", Right.PROJECTS_WRITE),
    ConsoleRow("GET", "keys/", Right.KEYS_READ),
    ConsoleRow("POST", "keys/new/", Right.KEYS_WRITE),
    ConsoleRow("GET", "keys/{key_id}/", Right.KEYS_WRITE),
    ConsoleRow("POST", "keys/{key_id}/rotate/", Right.KEYS_WRITE),
    ConsoleRow("POST", "keys/{key_id}/revoke/", Right.KEYS_WRITE),
    ConsoleRow("GET", "webhooks/", Right.WEBHOOKS_READ),
    ConsoleRow("GET", "webhooks/new/", Right.WEBHOOKS_WRITE),
    ConsoleRow("GET", "webhooks/{endpoint_id}/", Right.WEBHOOKS_READ),
    ConsoleRow("POST", "webhooks/{endpoint_id}/edit/?url=https://hooks.example.com/", Right.WEBHOOKS_WRITE),
    ConsoleRow("GET", "webhooks/{endpoint_id}/secret/", Right.WEBHOOKS_WRITE),
    ConsoleRow("POST", "webhooks/{endpoint_id}/rotate/?overlap=3600", Right.WEBHOOKS_WRITE),
    ConsoleRow("GET", "webhooks/{endpoint_id}/replay/", Right.WEBHOOKS_WRITE),
    ConsoleRow("POST", "webhooks/{endpoint_id}/test/", Right.WEBHOOKS_WRITE),
    ConsoleRow("POST", "webhooks/{endpoint_id}/switch/", Right.WEBHOOKS_WRITE),
    ConsoleRow("POST", "webhooks/{endpoint_id}/delete/", Right.WEBHOOKS_WRITE),
    ConsoleRow("GET", "webhooks/deliveries/{delivery_id}/", Right.WEBHOOKS_READ),
    ConsoleRow("POST", "webhooks/deliveries/{delivery_id}/resend/", Right.WEBHOOKS_WRITE),
    ConsoleRow("GET", "sso/", Right.SSO_READ),
    ConsoleRow("GET", "sso/domains/", Right.SSO_READ),
    ConsoleRow("POST", "sso/domains/new/?domain=acme.com", Right.SSO_MANAGE),
    ConsoleRow("GET", "sso/domains/{domain_id}/", Right.SSO_READ),
    ConsoleRow("POST", "sso/domains/{domain_id}/check/", Right.SSO_MANAGE),
    ConsoleRow("GET", "sso/domains/{domain_id}/remove/", Right.SSO_MANAGE),
    ConsoleRow("POST", "sso/providers/require/", Right.SSO_MANAGE),
    ConsoleRow("GET", "sso/providers/", Right.SSO_READ),
    ConsoleRow("POST", "sso/providers/new/?guide=okta-saml", Right.SSO_MANAGE),
    ConsoleRow("GET", "sso/providers/{provider_id}/guide/", Right.SSO_MANAGE),
    ConsoleRow("POST", "sso/providers/{provider_id}/guide/restart/", Right.SSO_MANAGE),
    ConsoleRow("POST", "sso/providers/{provider_id}/ask/", Right.SSO_MANAGE),
    ConsoleRow("GET", "sso/providers/{provider_id}/", Right.SSO_READ),
    ConsoleRow("GET", "sso/providers/{provider_id}/edit/", Right.SSO_MANAGE),
    ConsoleRow("POST", "sso/providers/{provider_id}/switch/?is_on=0", Right.SSO_MANAGE),
    ConsoleRow("GET", "sso/providers/{provider_id}/remove/", Right.SSO_MANAGE),
    ConsoleRow("GET", "sso/sign-ins/", Right.SSO_READ),
    ConsoleRow("GET", "sso/sign-ins/{sign_in_id}/", Right.SSO_READ),
    ConsoleRow("GET", "sso/links/", Right.SSO_MANAGE),
    ConsoleRow("POST", "sso/links/new/", Right.SSO_MANAGE),
    ConsoleRow("GET", "sso/links/{link_id}/", Right.SSO_MANAGE),
    ConsoleRow("POST", "sso/links/{link_id}/revoke/", Right.SSO_MANAGE),
    ConsoleRow("GET", "members/", Right.MEMBERS_READ),
    ConsoleRow("POST", "members/invite/", Right.MEMBERS_WRITE),
    ConsoleRow("GET", "members/leave/", Right.ORGANIZATION_READ),
    ConsoleRow("GET", "members/{user_id}/role/", Right.MEMBERS_WRITE),
    ConsoleRow("GET", "members/{user_id}/remove/", Right.MEMBERS_WRITE),
    ConsoleRow("POST", "invitations/{invitation_id}/resend/", Right.MEMBERS_WRITE),
    ConsoleRow("POST", "invitations/{invitation_id}/revoke/", Right.MEMBERS_WRITE),
    ConsoleRow("GET", "memory/", Right.MEMORY_READ),
    ConsoleRow("GET", "memory/{project}/?id={capsule_id}", Right.MEMORY_READ),
    ConsoleRow("POST", "memory/{project}/pin/?id={capsule_id}", Right.MEMORY_WRITE),
    ConsoleRow("POST", "memory/{project}/tags/?id={capsule_id}", Right.MEMORY_WRITE),
    ConsoleRow("POST", "memory/{project}/expiry/?id={capsule_id}", Right.MEMORY_WRITE),
    ConsoleRow("GET", "memory/{project}/fork/?id={capsule_id}", Right.MEMORY_WRITE),
    ConsoleRow("GET", "memory/{project}/compare/?id={capsule_id}", Right.MEMORY_READ),
    ConsoleRow("GET", "memory/{project}/merge/?id={capsule_id}", Right.MEMORY_WRITE),
    ConsoleRow("POST", "memory/{project}/export/?id={capsule_id}", Right.MEMORY_READ),
    ConsoleRow("GET", "memory/{project}/delete/?id={capsule_id}", Right.MEMORY_DELETE),
    ConsoleRow("GET", "memory/{project}/forget/?user=ada", Right.MEMORY_DELETE),
    ConsoleRow("GET", "memory/{project}/import/", Right.MEMORY_WRITE),
    ConsoleRow("GET", "sessions/", Right.MEMORY_READ),
    ConsoleRow("GET", "sessions/{project}/?id={session_id}", Right.MEMORY_READ),
    ConsoleRow("POST", "sessions/{project}/seal/?id={session_id}", Right.MEMORY_WRITE),
    ConsoleRow("POST", "sessions/{project}/triggers/?id={session_id}", Right.MEMORY_WRITE),
    ConsoleRow("GET", "usage/", Right.USAGE_READ),
    ConsoleRow("GET", "usage/csv/", Right.USAGE_READ),
    ConsoleRow("GET", "billing/", Right.BILLING_READ),
    ConsoleRow("POST", "billing/notices/{notice_id}/dismiss/", Right.BILLING_WRITE),
    ConsoleRow("GET", "billing/plan/", Right.BILLING_READ),
    ConsoleRow("GET", "billing/contract/", Right.BILLING_READ),
    ConsoleRow("GET", "billing/plan/change/?plan=pro", Right.BILLING_WRITE),
    ConsoleRow("POST", "billing/plan/confirm/", Right.BILLING_WRITE),
    ConsoleRow("POST", "billing/plan/buy/", Right.BILLING_WRITE),
    ConsoleRow("POST", "billing/plan/later/", Right.BILLING_WRITE),
    ConsoleRow("POST", "billing/plan/undo/", Right.BILLING_WRITE),
    ConsoleRow("GET", "billing/plan/seats/?seats=12", Right.BILLING_WRITE),
    ConsoleRow("POST", "billing/plan/seats/", Right.BILLING_WRITE),
    ConsoleRow("POST", "billing/plan/code/", Right.BILLING_WRITE),
    ConsoleRow("GET", "billing/invoices/", Right.BILLING_READ),
    ConsoleRow("GET", "billing/invoices/{invoice_id}/", Right.BILLING_READ),
    ConsoleRow("GET", "billing/invoices/{invoice_id}/statement/", Right.BILLING_READ),
    ConsoleRow("GET", "billing/invoices/{invoice_id}/events/", Right.BILLING_READ),
    ConsoleRow("GET", "billing/lines/{line_id}/", Right.BILLING_READ),
    ConsoleRow("GET", "billing/lines/{line_id}/events/", Right.BILLING_READ),
    ConsoleRow("GET", "billing/credits/", Right.BILLING_READ),
    ConsoleRow("POST", "billing/credits/buy/", Right.BILLING_WRITE),
    ConsoleRow("POST", "billing/credits/automatic/", Right.BILLING_WRITE),
    ConsoleRow("GET", "billing/caps/", Right.BILLING_READ),
    ConsoleRow("POST", "billing/caps/set/", Right.BILLING_WRITE),
    ConsoleRow("POST", "billing/caps/{cap_id}/clear/", Right.BILLING_WRITE),
    ConsoleRow("GET", "billing/caps/kept/", Right.BILLING_READ),
    ConsoleRow("POST", "billing/caps/kept/{write_id}/retry/", Right.MEMORY_WRITE),
    ConsoleRow("POST", "billing/caps/kept/{write_id}/drop/", Right.MEMORY_DELETE),
    ConsoleRow("POST", "billing/caps/alerts/", Right.BILLING_WRITE),
    ConsoleRow("GET", "billing/details/", Right.BILLING_READ),
    ConsoleRow("POST", "billing/details/update/", Right.BILLING_WRITE),
    ConsoleRow("POST", "billing/details/tax-ids/add/", Right.BILLING_WRITE),
    ConsoleRow("POST", "billing/details/tax-ids/remove/?id=txi_1", Right.BILLING_WRITE),
    ConsoleRow("POST", "billing/details/cards/", Right.BILLING_WRITE),
    ConsoleRow("GET", "billing/details/cards/list/", Right.BILLING_READ),
    ConsoleRow("POST", "billing/details/seats/", Right.BILLING_WRITE),
    ConsoleRow("POST", "billing/sandbox/advance/", Right.BILLING_WRITE),
    ConsoleRow("GET", "audit/", Right.AUDIT_READ),
    ConsoleRow("GET", "audit/timeline/", Right.AUDIT_READ),
    ConsoleRow("GET", "audit/erase/", Right.AUDIT_ERASE),
    ConsoleRow("GET", "audit/views/new/?is_staff=on", Right.AUDIT_READ),
    ConsoleRow("POST", "audit/views/{audit_view_id}/delete/", Right.AUDIT_READ),
    ConsoleRow("GET", "audit/exports/", Right.AUDIT_EXPORT),
    ConsoleRow("GET", "audit/exports/new/", Right.AUDIT_EXPORT),
    ConsoleRow("GET", "audit/exports/{audit_export_id}/", Right.AUDIT_EXPORT),
    ConsoleRow("GET", "audit/exports/{audit_export_id}/files/{name}?link={link}", Right.AUDIT_EXPORT),
    ConsoleRow("POST", "audit/exports/{audit_export_id}/send/", Right.AUDIT_EXPORT),
    ConsoleRow("POST", "audit/exports/{audit_export_id}/end/", Right.AUDIT_EXPORT),
    ConsoleRow("GET", "audit/targets/new/", Right.AUDIT_EXPORT),
    ConsoleRow("GET", "audit/targets/{audit_target_id}/", Right.AUDIT_EXPORT),
    ConsoleRow("POST", "audit/targets/{audit_target_id}/test/", Right.AUDIT_EXPORT),
    ConsoleRow("POST", "audit/targets/{audit_target_id}/delete/", Right.AUDIT_EXPORT),
    ConsoleRow("GET", "audit/schedules/new/", Right.AUDIT_EXPORT),
    ConsoleRow("POST", "audit/schedules/{audit_schedule_id}/pause/", Right.AUDIT_EXPORT),
    ConsoleRow("POST", "audit/schedules/{audit_schedule_id}/delete/", Right.AUDIT_EXPORT),
    ConsoleRow("GET", "audit/streams/", Right.AUDIT_EXPORT),
    ConsoleRow("GET", "audit/streams/new/", Right.AUDIT_EXPORT),
    ConsoleRow("GET", "audit/streams/{audit_stream_id}/", Right.AUDIT_EXPORT),
    ConsoleRow("POST", "audit/streams/{audit_stream_id}/edit/?name=SIEM", Right.AUDIT_EXPORT),
    ConsoleRow("GET", "audit/streams/{audit_stream_id}/secret/", Right.AUDIT_EXPORT),
    ConsoleRow("POST", "audit/streams/{audit_stream_id}/rotate/?overlap=3600", Right.AUDIT_EXPORT),
    ConsoleRow("POST", "audit/streams/{audit_stream_id}/replay/?seq=0", Right.AUDIT_EXPORT),
    ConsoleRow("POST", "audit/streams/{audit_stream_id}/test/", Right.AUDIT_EXPORT),
    ConsoleRow("POST", "audit/streams/{audit_stream_id}/switch/", Right.AUDIT_EXPORT),
    ConsoleRow("POST", "audit/streams/{audit_stream_id}/resend/{dead_letter_id}/", Right.AUDIT_EXPORT),
    ConsoleRow("POST", "audit/streams/{audit_stream_id}/delete/", Right.AUDIT_EXPORT),
    ConsoleRow("GET", "audit/{event_id}/", Right.AUDIT_READ),
    ConsoleRow("GET", "audit/{event_id}/proof/", Right.AUDIT_READ),
    ConsoleRow("GET", "audit/{event_id}/body/", Right.AUDIT_READ),
    ConsoleRow("GET", "settings/", Right.ORGANIZATION_READ),
    ConsoleRow("POST", "settings/name/", Right.ORGANIZATION_WRITE),
    ConsoleRow("POST", "settings/security/", Right.ORGANIZATION_WRITE),
    ConsoleRow("GET", "settings/close/", Right.ORGANIZATION_CLOSE),
    ConsoleRow("POST", "settings/restore/", Right.ORGANIZATION_CLOSE),
)
# Addresses of a person, not of an organization: anonymous is sent to sign in, everybody signed in sees their own.
PERSONAL = {
    "/organizations/new/",
    "/invitations/{token}/",
    "/account/",
    "/account/name/",
    "/account/sessions/{session_id}/end/",
}
# django-allauth's addresses that are there before one has signed in; all its others send anonymous away.
BEFORE_SIGN_IN = {
    "account_login",
    "account_signup",
    "account_logout",
    "account_inactive",
    "account_email_verification_sent",
    "account_confirm_email",
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key",
    "account_reset_password_from_key_done",
    "account_confirm_login_code",
    "account_request_login_code",
    "account_confirm_password_reset_code",
    "account_complete_password_reset",
    "account_password_reset_completed",
    "mfa_authenticate",
    "mfa_login_webauthn",
    "mfa_trust",
    "mfa_signup_webauthn",
}
