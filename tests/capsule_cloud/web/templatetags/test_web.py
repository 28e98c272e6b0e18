"""The template vocabulary."""

from datetime import timedelta

import pytest
from django.utils import timezone

from capsule_cloud.web.snippets import first_steps
from capsule_cloud.web.templatetags.web import ago, browser, highlight, percent


@pytest.mark.parametrize("language", ["bash", "python", "javascript", "json", "klingon"])
def test_highlighting_never_lets_markup_through(language: str) -> None:
    shown = highlight('"<script>alert(1)</script>" # <b>', language)
    assert "<script>" not in shown
    assert "<b>" not in shown


def test_highlighting_keeps_every_character() -> None:
    for snippet in first_steps("https://memory.example.com"):
        shown = highlight(snippet.code, snippet.language)
        text = shown.replace("</span>", "")
        for kind in "ksnc":
            text = text.replace(f'<span class="tok-{kind}">', "")
        for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#x27;", "'"), ("&amp;", "&")):
            text = text.replace(entity, character)
        assert text == snippet.code


@pytest.mark.parametrize(
    ("past", "words"),
    [
        (timedelta(seconds=2), "just now"),
        (timedelta(seconds=40), "40s ago"),
        (timedelta(minutes=5), "5m ago"),
        (timedelta(hours=3), "3h ago"),
        (timedelta(days=4), "4d ago"),
        (timedelta(days=-2, seconds=-5), "in 2d"),
    ],
)
def test_times_are_short(past: timedelta, words: str) -> None:
    assert f">{words}</time>" in str(ago(timezone.now() - past))


def test_what_never_happened_says_so() -> None:
    assert ago(None) == "never"


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1", "Safari on iPhone"),
        ("curl/8.5.0", "curl"),
        ("", "Unknown browser"),
    ],
)
def test_browsers_are_named(agent: str, words: str) -> None:
    assert browser(agent) == words


def test_shares_are_percent() -> None:
    assert percent(0.784) == "78 %"
