"""Photographs every page of the console into docs/images, beside a running `make run`:

    .venv/bin/python manage.py shell -c "from tests.journeys import screenshots; screenshots.main()"

It makes an organization of its own in the database of the running service, and signs in as its owner.
"""

import os
import uuid
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from django.conf import settings
from playwright.sync_api import ViewportSize, sync_playwright

from billing.invoicing.models import InvoiceLine
from capsule_cloud.memory.models import Capsule
from tenancy.audit.services import Actor
from tenancy.models import ApiKey, Project
from tenancy.scope import scope
from tests.capsule_cloud.web.browser import Visitor, launch, visit
from tests.journeys.billing_picture_data import pay
from tests.journeys.picture_data import make

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
    ("audit", "audit/", ("light", "dark"), True),
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
    owner, organization = make(uuid.uuid4().hex[:4])
    home = f"/o/{organization.slug}/"
    with scope(organization):
        project = Project.objects.get(slug="default")
        key = ApiKey.objects.filter(project=project).earliest("created_at")
    pay(organization, Actor("user", str(owner.pk), owner.email), project, key)
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
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for user, shots in ((None, PUBLIC), (owner, (*console, *ACCOUNT))):
            with visit(browser, settings.PUBLIC_URL, user) as visitor:
                for shot in shots:
                    _photograph(visitor, shot)
        browser.close()


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
        visitor.page.screenshot(path=FOLDER / f"{file}.png")
