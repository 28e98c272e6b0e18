"""Draws what an identity provider's form looks like, as an SVG of our own: which fields to fill, and with what."""

from dataclasses import dataclass
from typing import Literal

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

WIDTH, MARGIN = 460, 20
HEAD, CAPTION, LINE, BOX = 34, 40, 24, 30  # heights: the window's head, its path, a line of text, a field
LONGEST = 50  # characters that a field shows
HEIGHTS = {"field": LINE + BOX + 10, "select": LINE + BOX + 10, "button": BOX + 14, "heading": 30}
# What sketches show in fields: the addresses themselves would be too long
APP = "Capsule Memory Cloud"
ACS, ENTITY, REDIRECT = "https://…/acs/", "https://…/metadata/", "https://…/callback/"
Kind = Literal["field", "select", "choice", "check", "button", "heading"]


@dataclass(frozen=True, slots=True)
class Row:
    """A part of the form; `mark` is the number that the text calls it by, 0 for what only stands around it."""

    label: str
    value: str = ""
    kind: Kind = "field"
    mark: int = 0
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A window: what stands in its head, the way to the form, and the form."""

    title: str
    path: str
    rows: tuple[Row, ...]

    @property
    def told(self) -> str:
        """The same for whoever does not see it."""
        marked = [f"{one.label}: {one.value}" if one.value else one.label for one in self.rows if one.mark]
        return f"A sketch of {self.title}, {self.path}. Marked: {'; '.join(marked)}."

    def draw(self) -> SafeString:
        """The SVG."""
        placed, y = [], HEAD + CAPTION + 8
        for row in self.rows:
            value = row.value if len(row.value) <= LONGEST else f"{row.value[: LONGEST - 1]}…"
            placed.append({"row": row, "value": value, **_ys(y)})
            y += HEIGHTS.get(row.kind, LINE + 6)
        context = {"picture": self, "placed": placed, "height": y + 8, "width": WIDTH, "inner": WIDTH - 2 * MARGIN}
        return render_to_string("web/parts/sso_picture.html", context)


def _ys(y: int) -> dict[str, int]:
    """The heights of what a row may have."""
    return {
        "label_y": y + 15,
        "box_y": y + LINE - 2,
        "value_y": y + LINE + 17,
        "mark_y": y + LINE + 13,
        "button_mark_y": y + 15,
        "button_y": y,
        "button_text_y": y + 20,
        "dot_y": y + 11,
        "square_y": y + 4,
    }
