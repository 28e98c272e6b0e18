"""Drives Debian's Chromium against the live server."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urljoin

from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright

from capsule_cloud.lib.mail import outbox
from tenancy.models import User

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 15_000  # milliseconds; two cores are shared by everything
# Chromium's hint about password managers, for forms that ask only for a password.
HINTS = ("[DOM] Password forms should have",)


def launch(playwright: Playwright) -> Browser:
    """A headless Chromium that calls nobody."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)


class Visitor:
    """A person at a browser; `complaints` are what the console of the browser said, policy violations among them."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        context.set_default_timeout(PATIENCE)
        self.context, self.base = context, base
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(HINTS):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def go(self, path: str) -> Page:
        """Open a path of the server and wait until it stands, fonts included."""
        self.page.goto(urljoin(self.base, path))
        self.page.evaluate("document.fonts.ready.then(() => true)")
        return self.page

    def serious_violations(self) -> list[str]:
        """What axe-core finds on the page that is serious or critical, one line each."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{self.page.url} {one['id']}: {one['help']} {[node['target'] for node in one['nodes']]}"
            for one in found
            if one["impact"] in {"serious", "critical"}
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@contextmanager
def visit(browser: Browser, base: str, user: User | None = None, **options: object) -> Iterator[Visitor]:
    """A visitor with a browser profile of their own, signed in as `user` when given."""
    context = browser.new_context(**options)  # type: ignore[arg-type]  # Playwright's own options
    try:
        if user is not None:
            client = Client()
            client.force_login(user)
            [cookie] = client.cookies.values()
            context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": base}])
        yield Visitor(context, base)
    finally:
        context.close()


def mailed_code(address: str) -> str:
    """The newest code that was mailed to an address."""
    return _in_mail(address, r"^[A-Z0-9]{4}-[A-Z0-9]{4}$")


def mailed_link(address: str) -> str:
    """The newest invitation link that was mailed to an address."""
    return _in_mail(address, r"http\S+/invitations/\S+")


def _in_mail(address: str, pattern: str) -> str:
    body = next(mail.body for mail in outbox(200) if address in mail.to)
    found = re.search(pattern, body, re.MULTILINE)
    assert found is not None, body
    return found.group()
