"""Drives Debian's Chromium against the live server."""

import asyncio
import functools
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urljoin

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, expect, sync_playwright

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
# The rules that axe looks at, none for all: a theme changes colours alone. The last is what a visitor begins with.
THEMES: dict[Literal["dark", "light"], list[str]] = {"dark": [], "light": ["color-contrast", "link-in-text-block"]}
PATIENCE = 15_000  # milliseconds; two cores are shared by everything
# Fading colours are nobody's to read: what changes with the theme has changed at once.
AXE = """async ([theme, impacts, rules]) => {
    if (!matchMedia(`(prefers-color-scheme: ${theme})`).matches) throw new Error(`The theme is not ${theme}.`);
    document.getAnimations().filter(one => one instanceof CSSTransition).forEach(one => one.finish());
    const only = rules.length ? {runOnly: {type: "rule", values: rules}} : {};
    const found = await axe.run({resultTypes: ["violations"], ...only});
    return found.violations.filter(one => impacts.includes(one.impact)).map(
        one => `${location.href} ${theme} ${one.id}: ${one.help} ${JSON.stringify(one.nodes.map(node => node.target))}`
    );
}"""
# Chromium's hint about password managers, for forms that ask only for a password, and its guess on a slow machine that
# a page has no use for the font that all of them are set in.
HINTS = re.compile(r"\[DOM\] Password forms should have|The resource \S+/geist-latin-\S+ was preloaded .* but not used")


def launch(playwright: Playwright) -> Browser:
    """A headless Chromium that calls nobody."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)


@functools.cache
def _opened(config: pytest.Config) -> tuple[Browser, asyncio.AbstractEventLoop]:
    expect.set_options(timeout=PATIENCE)
    playwright = sync_playwright().start()
    browser, loop = launch(playwright), asyncio.get_running_loop()

    def close() -> None:
        asyncio._set_running_loop(loop)
        browser.close()
        playwright.stop()

    config.add_cleanup(close)
    return browser, loop


@contextmanager
def borrowed(config: pytest.Config) -> Iterator[Browser]:
    """The one Chromium of this process: it is started for the first who asks, and ends with all tests.

    Playwright marks its event loop as the one that runs in this thread. Whoever comes in between must not see that:
    Django would refuse to query, and nobody could run a loop of their own.
    """
    browser, loop = _opened(config)
    asyncio._set_running_loop(loop)
    try:
        yield browser
    finally:
        asyncio._set_running_loop(None)


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
        if message.type in {"error", "warning"} and not HINTS.match(message.text):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def go(self, path: str) -> Page:
        """Open a path of the server and wait until it stands, fonts included."""
        self.page.goto(urljoin(self.base, path))
        self.page.evaluate("document.fonts.ready.then(() => true)")
        return self.page

    def serious_violations(self) -> list[str]:
        """What axe-core finds that is serious or critical, one line each: all in the dark, colours in the light."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE_SCRIPT)
        found: list[str] = []
        for theme, rules in THEMES.items():
            self.page.emulate_media(color_scheme=theme)
            found += self.page.evaluate(AXE, [theme, ["serious", "critical"], rules])
        return found

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
