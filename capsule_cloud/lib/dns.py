"""Owns every look-up of TXT records: name servers of our choice, one deadline, and bounds on what a zone may say."""

from dataclasses import dataclass

import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
from django.conf import settings

from capsule_cloud.lib.http import refuse_open_transaction

LONGEST_VALUE = 500


class Unanswered(Exception):
    """No name server said whether there are records; a retry may help. `code` is `timeout` or `failed`."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Records:
    """The TXT records of a name, the strings of each joined to one text, in order.

    `exists` is false where the name has records of no type; `alias` is where a CNAME led to, or nothing.
    """

    values: tuple[str, ...] = ()
    exists: bool = True
    alias: str = ""


def txt(name: str, *, timeout: float) -> Records:
    """Ask for the TXT records of a name (in ASCII, without a final dot) within `timeout` seconds.

    CNAMEs are followed as the name server follows them; an answer that is cut off is asked for again over TCP. Raises
    Unanswered, or OpenTransaction.
    """
    refuse_open_transaction()
    asked = dns.name.from_text(name)
    try:
        answer = _resolver().resolve(asked, dns.rdatatype.TXT, lifetime=timeout, search=False)
    except dns.resolver.NXDOMAIN as error:
        return Records(exists=False, alias=_alias(asked, error.canonical_name))
    except dns.resolver.NoAnswer as error:
        return Records(alias=_alias(asked, error.kwargs["response"].resolve_chaining().canonical_name))
    except dns.exception.Timeout as error:
        raise Unanswered("timeout", f"The name servers gave no answer within {timeout:g} seconds.") from error
    except dns.exception.DNSException as error:  # SERVFAIL, REFUSED, what cannot be read, CNAMEs in a circle
        raise Unanswered("failed", "The name servers could not say: the domain's DNS may be set up wrongly.") from error
    values = sorted(_text(b"".join(one.strings)) for one in answer)  # name servers mix them anew for each answer
    return Records(tuple(values), alias=_alias(asked, answer.canonical_name))


def _resolver() -> dns.resolver.Resolver:
    if not settings.DNS_NAMESERVERS:
        return dns.resolver.Resolver()  # the machine's own
    chosen = dns.resolver.Resolver(configure=False)
    chosen.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in settings.DNS_NAMESERVERS]
    return chosen


def _alias(asked: dns.name.Name, found: dns.name.Name) -> str:
    return "" if found == asked else found.to_text(omit_final_dot=True)[:LONGEST_VALUE]


def _text(value: bytes) -> str:
    """A value as text that can be shown and stored, whatever its bytes are."""
    text = value.decode("utf-8", "replace")[:LONGEST_VALUE]
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
