"""Decides what a domain may be that an organization says is its own."""

from functools import cache

import idna
from publicsuffixlist import PublicSuffixList

from tenancy.errors import Invalid

RECORD = "_capsule-challenge"  # the label below the domain where its record stands (RFC 8552)
VALUE = "capsule-domain-verification="  # what the record's value begins with, before the token
LONGEST = 253 - len(RECORD) - 1  # the record has a name, too
EXAMPLE = "Write the domain alone, such as acme.com."
# Where everybody has an address. Nobody could put our record there, so this only saves the wait: it need not be whole.
FREE_MAIL = frozenset(
    {
        *("126.com", "163.com", "aol.com", "comcast.net", "duck.com", "fastmail.com", "free.fr", "freenet.de"),
        *("gmail.com", "googlemail.com", "hey.com", "hushmail.com", "icloud.com", "laposte.net", "libero.it"),
        *("live.com", "mac.com", "mail.com", "mail.ru", "me.com", "msn.com", "naver.com", "orange.fr", "outlook.com"),
        *("pm.me", "posteo.de", "privaterelay.appleid.com", "proton.me", "protonmail.com", "qq.com"),
        *("rediffmail.com", "rocketmail.com", "sbcglobal.net", "seznam.cz", "t-online.de", "tuta.com"),
        *("tutanota.com", "verizon.net", "wanadoo.fr", "web.de", "wp.pl", "yeah.net", "ymail.com", "zoho.com"),
        *("zohomail.com"),
    }
)
FREE_MAIL_FAMILIES = frozenset({"gmx", "hotmail", "yahoo", "yandex"})  # below whatever country


def clean(text: str) -> str:
    """The domain as DNS has it: ASCII (IDNA 2008), small letters, no dot at the end. Raises Invalid.

    Refused are what is no domain of the public internet, what nobody can own (`co.uk`, `github.io`), and providers of
    free mail.
    """
    text = text.strip()
    if not text or len(text) > 253:
        raise _refused(EXAMPLE)
    if "@" in text or "/" in text or ":" in text:
        raise _refused(f"This is an address or a link. {EXAMPLE}")
    if "*" in text:
        raise _refused("A domain counts for itself alone, and stars mean nothing: add each subdomain by its own name.")
    try:
        domain = idna.encode(text, uts46=True, std3_rules=True).decode("ascii").removesuffix(".")
    except (UnicodeError, IndexError):
        raise _refused(f"This is no domain name. {EXAMPLE}") from None
    if len(domain) > LONGEST:
        raise _refused(f"The domain is longer than {LONGEST} characters.")
    suffix = _suffixes().publicsuffix(domain)
    if suffix is None:
        raise _refused(f"{shown(domain)} is no domain of the public internet. {EXAMPLE}")
    if suffix == domain:
        raise _refused(f"Everybody can have a name below {shown(domain)}, so nobody owns it. Add your own domain.")
    if _is_free_mail(domain):
        raise _refused(f"Everybody can have an address at {shown(domain)}. Add a domain that is your organization's.")
    return domain


def shown(domain: str) -> str:
    """A domain as people write it: `bücher.de` for `xn--bcher-kva.de`."""
    try:
        return idna.decode(domain)
    except (UnicodeError, IndexError):
        return domain


def record_of(domain: str) -> str:
    """The name of the TXT record that proves a domain."""
    return f"{RECORD}.{domain}"


def zone_of(domain: str) -> str:
    """The domain that was registered, whose DNS it is most often in: `acme.com` for `labs.acme.com`."""
    return _suffixes().privatesuffix(domain) or domain


def label_of(domain: str) -> str:
    """The record's name within that zone, as most DNS providers want it: `_capsule-challenge.labs`."""
    return record_of(domain).removesuffix(f".{zone_of(domain)}")


def _refused(sentence: str) -> Invalid:
    return Invalid("domain", sentence)


def _is_free_mail(domain: str) -> bool:
    registered = zone_of(domain)
    return domain in FREE_MAIL or registered in FREE_MAIL or registered.partition(".")[0] in FREE_MAIL_FAMILIES


@cache
def _suffixes() -> PublicSuffixList:
    """The list, private rules included; a name that ends in nothing that it knows has no suffix."""
    return PublicSuffixList(accept_unknown=False)
