"""A person's browser, as far as a demonstration needs one: pages, forms with their CSRF tokens, cookies."""

import re
from collections.abc import Mapping
from html import unescape
from typing import Self

import httpx
from django.urls import Resolver404, resolve

_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
_ERROR = re.compile(
    r'<[^>]+class="[^"]*\b(?:error|errorlist|notice-bad)\b[^"]*"[^>]*>(.*?)</(?:p|ul|div|span|li)>', re.DOTALL
)
_TAG = re.compile(r"<[^>]+>")


class PageFailed(Exception):
    """A page did not answer as it should; `str()` says which and how."""


class Browser:
    """A context manager: one person's cookies on one service."""

    def __init__(self, base_url: str) -> None:
        self.client = httpx.Client(base_url=base_url, follow_redirects=True, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def open(self, path: str) -> httpx.Response:
        """The page at a path, wherever it redirects to. Raises PageFailed."""
        answer = self.client.get(path)
        if answer.is_error:
            raise PageFailed(f"GET {path} answered {answer.status_code}.")
        return answer

    def submit(self, path: str, fields: Mapping[str, str | list[str]], *, arrives_at: str) -> httpx.Response:
        """Fill in the form at a path and send it. Raises PageFailed unless it leads to the page named `arrives_at`."""
        page = self.open(path)
        token = _TOKEN.search(page.text)
        if token is None:
            raise PageFailed(f"{page.url} has no form.")
        data = {"csrfmiddlewaretoken": token.group(1), **fields}
        answer = self.client.post(page.url, data=data, headers={"Referer": str(page.url)})
        if answer.is_error or name_of(answer) != arrives_at:
            raise PageFailed(
                f"POST {page.url.path} answered {answer.status_code} at {answer.url.path}{_complaint(answer)}"
            )
        return answer


def name_of(page: httpx.Response) -> str:
    """The name of the page's URL in our own list of them; empty for another site's."""
    try:
        return resolve(page.url.path).url_name or ""
    except Resolver404:
        return ""


def _complaint(answer: httpx.Response) -> str:
    found = (" ".join(unescape(_TAG.sub(" ", match)).split()) for match in _ERROR.findall(answer.text))
    return "".join(f": {text}" for text in found if text) or "."
