"""The template vocabulary of the console: icons, code colours, short times and form fields."""

import re
from datetime import datetime, timedelta
from typing import Any, Protocol

from django import template
from django.forms import BoundField, CheckboxInput, CheckboxSelectMultiple, RadioSelect
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from billing.invoicing.models import Invoice
from billing.money import Money
from billing.plans import ALLOWANCE_NAMES, Allowance
from capsule_cloud.web.chart import Unit
from tenancy.audit.actions import CATALOGUE
from tenancy.audit.models import AuditEvent

register = template.Library()

_TOKENS = {
    "bash": re.compile(
        r"(?P<c>(?<!\S)#[^\n]*)|(?P<s>\"(?:\\.|[^\"\\])*\"|'[^']*')|(?P<k>\b(?:curl|export|pip|npm|make|capsule-memory)\b|(?<=\s)-{1,2}[\w-]+)"
    ),
    "python": re.compile(
        r"(?P<c>#[^\n]*)|(?P<s>f?\"(?:\\.|[^\"\\])*\"|f?'(?:\\.|[^'\\])*')|(?P<n>\b\d+\b)"
        r"|(?P<k>\b(?:import|from|with|as|def|return|for|in|if|else|await|async|print|None|True|False)\b)"
    ),
    "javascript": re.compile(
        r"(?P<c>//[^\n]*)|(?P<s>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`[^`]*`)|(?P<n>\b\d+\b)"
        r"|(?P<k>\b(?:import|from|const|let|await|async|new|return|export|function|true|false|null)\b)"
    ),
    "json": re.compile(
        r"(?P<k>\"(?:\\.|[^\"\\])*\"(?=\s*:))|(?P<s>\"(?:\\.|[^\"\\])*\")|(?P<n>-?\b\d[\d.eE+-]*\b|\b(?:true|false|null)\b)"
    ),
}
# The order matters: Edge and Opera call themselves Chrome too, and Chrome calls itself Safari.
_BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)
_STEPS = ((60, "s", 1), (3600, "m", 60), (86400, "h", 3600), (30 * 86400, "d", 86400))


class Expiring(Protocol):
    """A key or an invitation."""

    expires_at: datetime | None


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """An icon of the sprite `web/icons.svg`, hidden from screen readers: the text beside it carries the meaning."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>',
        css,
        static("web/icons.svg"),
        name,
    )


@register.filter
def highlight(code: str, language: str) -> SafeString:
    """The code as escaped HTML with keywords, strings, numbers and comments in spans; other languages stay plain."""
    pattern = _TOKENS.get(language)
    if pattern is None:
        return escape(code)
    pieces, end = [], 0
    for match in pattern.finditer(code):
        pieces.append(escape(code[end : match.start()]))
        pieces.append(format_html('<span class="tok-{}">{}</span>', match.lastgroup, match.group()))
        end = match.end()
    pieces.append(escape(code[end:]))
    return mark_safe("".join(pieces))  # noqa: S308 -- every piece is escaped above


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """A `<time>` that reads "5m ago" or, past 30 days, a date; its title is the exact moment. "never" for None."""
    if moment is None:
        return "never"
    seconds = (timezone.now() - moment) / timedelta(seconds=1)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        f"{moment:%Y-%m-%d %H:%M:%S} UTC",
        _span(moment, seconds),
    )


def _span(moment: datetime, seconds: float) -> str:
    past = seconds >= 0
    for limit, unit, size in _STEPS:
        if abs(seconds) < limit:
            count = f"{int(abs(seconds) // size)}{unit}"
            if unit == "s" and abs(seconds) < 10:
                return "just now" if past else "in a moment"
            return f"{count} ago" if past else f"in {count}"
    return f"{moment:%d %b %Y}"


@register.simple_tag
def as_of(moment: datetime) -> SafeString:
    """The moment that numbers are of, to the second."""
    return format_html('<time datetime="{}">As of {} UTC.</time>', moment.isoformat(), f"{moment:%d %b, %H:%M:%S}")


@register.filter
def sentence(event: AuditEvent) -> str:
    """What the actor of an audit event did, in words."""
    action = CATALOGUE.get(event.action)
    return action.sentence if action else event.action


@register.filter
def has_expired(thing: Expiring) -> bool:
    """Whether its `expires_at` has passed."""
    return thing.expires_at is not None and thing.expires_at <= timezone.now()


@register.filter
def browser(user_agent: str) -> str:
    """A user agent as "Firefox on Linux"; what is not recognised stays as it is, shortened."""
    program = next((name for word, name in _BROWSERS if word in user_agent), "")
    system = next((name for word, name in _SYSTEMS if word in user_agent), "")
    if not program:
        return user_agent[:60] or "Unknown browser"
    return f"{program} on {system}" if system else program


@register.filter
def percent(share: float) -> str:
    """0.784 as "78 %"; what is there but rounds to nothing is "< 1 %"."""
    if 0 < share < 0.005:  # half a percent
        return "< 1 %"
    return f"{share:.0%}".replace("%", " %")


@register.filter
def thousands(number: int) -> str:
    """1234567 as "1,234,567"."""
    return f"{number:,}"


@register.filter
def said(number: int, unit: Unit) -> str:
    """A number of a chart in its unit: "1,234", "4.1 GB"."""
    return unit.say(number)


@register.filter
def money(amount: int, currency: str) -> str:
    """Minor units as "$12.50"."""
    return str(Money(amount, currency))


@register.filter
def invoice_name(invoice: Invoice) -> str:
    """Its number; what Stripe collects has none of ours and is called by its period."""
    if invoice.number:
        return invoice.number
    return "Draft" if invoice.state == Invoice.State.DRAFT else f"Use from {invoice.period_start:%-d %B %Y}"


@register.filter
def allowance_name(allowance: str) -> str:
    """What an allowance is called: "Memory operations"."""
    return ALLOWANCE_NAMES[Allowance(allowance)].partition(" (")[0]


@register.filter
def until_end(moment: datetime) -> str:
    """How much of a period is left: "8 days left", "ends today"."""
    days = (moment - timezone.now()).days
    return f"{days} day{'' if days == 1 else 's'} left" if days >= 1 else "ends today"


@register.filter
def field_kind(field: BoundField) -> str:
    """How a form field is drawn: "check", "choices" or "input"."""
    widget = field.field.widget
    if isinstance(widget, RadioSelect | CheckboxSelectMultiple):
        return "choices"
    return "check" if isinstance(widget, CheckboxInput) else "input"


@register.inclusion_tag("web/parts/field.html")
def field(bound: BoundField) -> dict[str, Any]:
    """A form field with label, help and errors, tied together for screen readers."""
    notes = [f"{bound.auto_id}_help"] if bound.help_text else []
    notes += [f"{bound.auto_id}_error"] if bound.errors else []
    attributes: dict[str, Any] = {}
    if notes:
        attributes["aria-describedby"] = " ".join(notes)
    if bound.errors:
        attributes["aria-invalid"] = "true"
    if bound.name == "code":
        attributes |= {"class": "code-input", "placeholder": ""}
    kind = field_kind(bound)
    return {"field": bound, "kind": kind, "control": bound if kind == "choices" else bound.as_widget(attrs=attributes)}
