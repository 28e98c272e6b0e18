"""The style sheets and the icon sprite hold what the pages name, and nothing else."""

import re
from pathlib import Path

WEB = Path(__file__).resolve().parents[3] / "capsule_cloud" / "web"
STATIC = WEB / "static" / "web"
PAGES = "\n".join(
    path.read_text() for path in (*WEB.rglob("*.html"), *WEB.rglob("*.py"), STATIC / "app.js", STATIC / "favicon.svg")
)
# Named by a computed part, or set by htmx.
COMPUTED = re.compile(r"meter-\d|tok-[ksnc]|toast-(error|warning)|stick-(warn|bad)|turn-assistant|htmx-request")


def _is_named(word: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", PAGES) is not None


def test_every_icon_of_a_page_is_in_the_sprite_and_none_is_left_over() -> None:
    sprite = set(re.findall(r'<symbol id="([\w-]+)"', (STATIC / "icons.svg").read_text()))
    named = set(re.findall(r'(?:\{% icon |glyph=)"([\w-]+)"', PAGES))
    assert named <= sprite
    assert sorted(icon for icon in sprite if not _is_named(icon)) == []


def test_every_class_of_a_style_sheet_is_used() -> None:
    sheets = "\n".join(path.read_text() for path in STATIC.glob("*.css"))
    classes = set(re.findall(r"\.([a-z][a-z0-9-]*)(?=[\s,{:.>\[)+~])", sheets))
    assert sorted(one for one in classes if not COMPUTED.fullmatch(one) and not _is_named(one)) == []
