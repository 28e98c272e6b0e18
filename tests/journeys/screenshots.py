"""Photographs every page of the console into docs/images, beside a running `make run`:

    .venv/bin/python manage.py shell -c "from tests.journeys import screenshots; screenshots.main()"

It makes two organizations of its own in the database of the running service, one with a contract, and signs in as
their owners and as a member of staff.
"""

import os
import uuid
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.conf import settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, ViewportSize, sync_playwright

from billing.invoicing.models import InvoiceLine
from billing.models import StripeEvent
from capsule_cloud.memory.models import Capsule
from tenancy.audit.services import Actor
from tenancy.models import ApiKey, Organization, Project, User
from tenancy.scope import scope
from tests.admin_portal.conftest import prove
from tests.capsule_cloud.web.browser import Visitor, launch, visit
from tests.factories import PASSWORD
from tests.journeys.audit_picture_data import catch_up, keep
from tests.journeys.billing_picture_data import pay
from tests.journeys.contract_picture_data import agree
from tests.journeys.picture_data import make, person
from tests.journeys.sso_picture_data import connect
from tests.journeys.webhook_picture_data import listen

Theme = Literal["light", "dark"]
Shot = tuple[str, str, tuple[Theme, ...], bool]  # name, path, themes, also on a phone
FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
DESKTOP: ViewportSize = {"width": 1360, "height": 850}
PHONE: ViewportSize = {"width": 390, "height": 844}
# Paths below the organization
CONSOLE: tuple[Shot, ...] = (
    ("home", "", ("light", "dark"), True),
    ("projects", "projects/", ("light",), False),
    ("project", "projects/default/", ("light",), False),
    ("keys", "keys/", ("light", "dark"), False),
    ("key-new", "keys/new/", ("light",), False),
    ("members", "members/", ("light",), False),
    ("memory", "memory/?project=default&q=error+rate+on+release+day", ("light", "dark"), True),
    ("sessions", "sessions/?project=default", ("light",), False),
    ("session", "sessions/default/?id=chat-1052", ("light", "dark"), False),
    ("usage", "usage/", ("light", "dark"), True),
    ("billing", "billing/", ("light", "dark"), True),
    ("plan", "billing/plan/", ("light", "dark"), False),
    ("plan-change", "billing/plan/change/?plan=scale", ("light",), False),
    ("invoices", "billing/invoices/", ("light",), False),
    ("credits", "billing/credits/", ("light",), False),
    ("caps", "billing/caps/", ("light",), False),
    ("billing-details", "billing/details/", ("light",), False),
    ("settings", "settings/", ("light",), False),
)
CONTRACT: tuple[Shot, ...] = (
    ("contract", "billing/contract/", ("light", "dark"), True),
    ("contract-invoices", "billing/invoices/", ("light",), False),
)
PUBLIC: tuple[Shot, ...] = (
    ("landing", "/", ("light", "dark"), True),
    ("signup", "/account/signup/", ("light",), False),
    ("login", "/account/login/", ("light",), False),
    ("outbox", "/outbox/", ("light",), False),
)
ACCOUNT: tuple[Shot, ...] = (
    ("account", "/account/", ("light",), False),
    ("second-factor", "/account/2fa/", ("light",), False),
    ("account-sessions", "/account/sessions/", ("light",), False),
)


def main() -> None:
    """Make the data, then the pictures."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright runs an event loop in this thread
    seed = uuid.uuid4().hex[:4]
    owner, organization = make(seed)
    home = f"/o/{organization.slug}/"
    with scope(organization):
        project = Project.objects.get(slug="default")
        key = ApiKey.objects.filter(project=project).earliest("created_at")
    actor = Actor("user", str(owner.pk), owner.email)
    pay(organization, actor, project, key)
    with scope(organization):
        line = InvoiceLine.objects.get(allowance="operations", invoice__state="open")
        habits = Capsule.objects.filter(title__startswith="Release habits").order_by("sealed_at")
        capsule_id, later_id = (quote(capsule.capsule_id) for capsule in habits)
    console = [(name, home + path, themes, phone) for name, path, themes, phone in CONSOLE]
    console.append(("capsule", f"{home}memory/default/?id={capsule_id}", ("light", "dark"), False))
    pair = f"id={capsule_id}&id={later_id}"
    console.append(("compare", f"{home}memory/default/compare/?{pair}", ("light", "dark"), True))
    console.append(("merge", f"{home}memory/default/merge/?{pair}", ("light",), False))
    console.append(("invoice", f"{home}billing/invoices/{line.invoice_id}/", ("light", "dark"), False))
    console.append(("invoice-line", f"{home}billing/lines/{line.pk}/", ("light",), False))
    buyer, committed = agree(seed)
    contract = [(name, f"/o/{committed.slug}/{path}", themes, phone) for name, path, themes, phone in CONTRACT]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for user, shots in ((None, PUBLIC), (owner, (*console, *ACCOUNT)), (buyer, contract)):
            with visit(browser, settings.PUBLIC_URL, user) as visitor:
                for shot in shots:
                    _photograph(visitor, shot)
        webhooks = listen(organization, actor, project)  # its server's address is in no picture before
        with visit(browser, settings.PUBLIC_URL, owner) as visitor:
            for name, path in webhooks.items():
                _photograph(visitor, (name, home + path, ("light", "dark"), name == "webhooks"))
        sign_on = connect(organization, actor, owner, f"northwind-{seed}.com")
        with visit(browser, settings.PUBLIC_URL, owner) as visitor:
            for name, path in sign_on.items():
                _photograph(visitor, (name, home + path, ("light", "dark"), True))
        photograph_audit(browser, owner, actor, organization)
        with visit(browser, settings.PUBLIC_URL) as visitor:
            _photograph_staff(visitor, seed)
        browser.close()


def photograph_audit(browser: Browser, owner: User, actor: Actor, organization: Organization) -> None:
    """The audit log, a month of it; who erases somebody has just given the password."""
    owner.set_password(PASSWORD)
    owner.save()
    paths = {name: f"/o/{organization.slug}/{path}" for name, path in keep(organization, actor).items()}
    with visit(browser, settings.PUBLIC_URL, owner) as visitor:
        for path in paths.values():
            visitor.go(path)
        visitor.page.get_by_label("Password").fill(PASSWORD)
        visitor.page.get_by_role("button", name="Confirm").click()
        visitor.page.wait_for_url(f"**{path}")
        catch_up(organization)
        for name, path in paths.items():
            _photograph(visitor, (name, path, ("light", "dark"), True))
        visitor.page.set_viewport_size(DESKTOP)
        visitor.go(paths["audit-event"]).get_by_text("Check it yourself").click()
        visitor.page.locator("#event-command").scroll_into_view_if_needed()
        visitor.page.screenshot(path=FOLDER / "audit-proof.png")


def _photograph_staff(visitor: Visitor, seed: str) -> None:
    """The staff console: its door, its start, Stripe's events, and one that was given up."""
    staff = person(f"sam-{seed}@capsule.example", "Sam Ekholm")
    staff.is_staff = True
    staff.save()
    TOTP.activate(staff, generate_totp_secret())
    event_id = f"evt_1Qz{uuid.uuid4().hex[:20]}"
    StripeEvent.objects.create(
        event_id=event_id,
        type="price.created",
        object_kind="price",
        object_id="price_1QzX2b",
        livemode=False,
        api_version=settings.STRIPE_API_VERSION,
        body={"id": event_id, "data": {"object": {"object": "price", "id": "price_1QzX2b"}}},
        occurred_at=timezone.now(),
        status="dead",
        attempts=10,
        error="UnknownPrice: price_1QzX2b",
    )
    client = Client()
    client.force_login(staff)
    prove(client, staff)
    [cookie] = client.cookies.values()
    visitor.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": settings.PUBLIC_URL}])
    _photograph(visitor, ("staff-door", "/staff/", ("light",), False))
    visitor.page.get_by_label("Why do you look?").fill("Ticket 4711: paid and still on Free")
    visitor.page.get_by_role("button", name="Begin").click()
    inbox = "/staff/billing/stripeevent/"
    _photograph(visitor, ("staff", "/staff/", ("light",), False))
    _photograph(visitor, ("staff-events", inbox, ("light", "dark"), False))
    _photograph(visitor, ("staff-event", f"{inbox}{event_id}/", ("light",), False))


def _photograph(visitor: Visitor, shot: Shot) -> None:
    name, path, themes, on_phone = shot
    views: list[tuple[ViewportSize, Theme, str]] = [
        (DESKTOP, theme, f"{name}{'-dark' if theme == 'dark' else ''}") for theme in themes
    ]
    if on_phone:
        views.append((PHONE, "light", f"{name}-phone"))
    for size, theme, file in views:
        visitor.page.set_viewport_size(size)
        visitor.page.emulate_media(color_scheme=theme)
        visitor.go(path)
        visitor.page.wait_for_load_state("networkidle")  # parts of a page come after it
        visitor.page.screenshot(path=FOLDER / f"{file}.png")
