"""What each kind of target asks for, and what of it is secret."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from capsule_cloud.lib import http, storage
from tenancy.audit.streams.models import STORES
from tenancy.errors import Invalid

SPLUNK_PORTS = (8088,)
SYSLOG_PORTS = (6514,)
OPTIONAL = frozenset({"index", "authorization", "ca_certificate", "endpoint", "prefix"})


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of what a kind asks for."""

    options: tuple[str, ...]
    secrets: tuple[str, ...]


KINDS = {
    "splunk": Fields(("url", "index"), ("token",)),
    "datadog": Fields(("url",), ("api_key",)),
    "https": Fields(("url",), ("authorization",)),
    "syslog": Fields(("host", "port", "ca_certificate"), ()),
    **{kind.value: Fields(storage.KINDS[kind].options, storage.KINDS[kind].secrets) for kind in STORES},
}
_FORMS = {
    "index": (r"[a-z0-9_][a-z0-9_-]{0,79}", "Write the index's name: lower-case letters, digits, _ and -."),
    "token": (r"[!-~]{1,200}", "Paste the token as Splunk shows it."),
    "api_key": (r"[!-~]{1,200}", "Paste the API key as Datadog shows it."),
    "authorization": (r"[ -~]{1,2000}", "Write the header's value in plain characters: Bearer …"),
    "host": (r"[A-Za-z0-9.:\[\]-]{1,253}", "Write the host's name, as in logs.example.com."),
    "port": (r"[0-9]{1,5}", "Write the port, as in 6514."),
}


def checked(kind: str, options: Mapping[str, str], secrets: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Only what the kind asks for, without blanks around. Nothing is looked up or sent. Raises Invalid."""
    if kind not in KINDS:
        raise Invalid("kind", f"Choose one of {', '.join(KINDS)}.")
    fields = KINDS[kind]
    if unknown := {*options, *secrets} - {*fields.options, *fields.secrets}:
        raise Invalid(min(unknown), f"A stream of the kind {kind} has no such field.")
    told = {name: options[name].strip() for name in fields.options if options.get(name, "").strip()}
    hidden = {name: secrets[name].strip() for name in fields.secrets if secrets.get(name, "").strip()}
    if kind in STORES:
        try:
            storage.check(kind, told, hidden)
        except storage.Unfit as unfit:
            raise Invalid(unfit.field, str(unfit)) from None
        return told, hidden
    given = {**told, **hidden}
    for name in (*fields.options, *fields.secrets):
        if name not in given and name not in OPTIONAL:
            raise Invalid(name, "This is needed.")
        if name in given and name in _FORMS and not re.fullmatch(_FORMS[name][0], given[name]):
            raise Invalid(name, _FORMS[name][1])
    _check_place(kind, told)
    if "ca_certificate" in told:
        _check_certificate(told["ca_certificate"])
    return told, hidden


def ports_of(kind: str) -> tuple[int, ...]:
    """Ports that a kind may use beside those of HTTPS."""
    return {"splunk": SPLUNK_PORTS, "syslog": SYSLOG_PORTS}.get(kind, ())


def url_of(kind: str, options: Mapping[str, str]) -> str:
    """Where the door is asked for."""
    return f"https://{options['host']}:{options['port']}/" if kind == "syslog" else options["url"]


def trust(options: Mapping[str, str]) -> ssl.SSLContext:
    """How a syslog server is verified: by the system's authorities, or by the customer's own alone."""
    own = options.get("ca_certificate")
    context = ssl.create_default_context(cadata=own) if own else ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _check_place(kind: str, options: Mapping[str, str]) -> None:
    try:
        http.place(url_of(kind, options), ports_of(kind))
    except http.Blocked as blocked:
        raise Invalid("host" if kind == "syslog" else "url", str(blocked)) from None


def _check_certificate(text: str) -> None:
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        raise Invalid(
            "ca_certificate", "Paste the authority's certificate as PEM: -----BEGIN CERTIFICATE-----"
        ) from None
