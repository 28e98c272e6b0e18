"""Looks a domain's record up in DNS, and says in plain words what was found and what helps."""

from dataclasses import dataclass

from capsule_cloud.lib import dns
from tenancy.sso.domains.names import RECORD, VALUE, record_of, shown

PATIENCE, HINT_PATIENCE = 5.0, 2.0  # seconds for the look-up, and for each that only explains a failure
MOST_SEEN, LONGEST_SEEN = 10, 200
REMEDIES = {
    "absent": "Add the TXT record at your DNS provider, with the name and value above. A new record is seen within "
    "minutes; where one was asked for too early, some name servers remember for up to an hour that there was none.",
    "no_domain": "Check the spelling. A domain that was registered lately needs name servers first.",
    "other_values": "Add one more TXT record with the value above, or correct this one. Several may stand at one name.",
    "other_token": "Copy the value above anew and add it as one more TXT record; the one that is there may be another "
    "organization's, and may stay.",
    "at_the_apex": f"Move it: its name must be {RECORD}, not @ or empty.",
    "doubled": f"Your DNS provider adds the domain by itself: enter {RECORD} alone as the record's name.",
    "alias": "Correct the target of the CNAME, or replace it by the TXT record.",
    "unanswered": "Nothing is lost, and we try again. If it stays so, let whoever runs your DNS check the name servers "
    "and DNSSEC.",
    "held": "If that is another organization of yours, remove the domain there. If the domain is new to you, make sure "
    "that no other Capsule record is left in its DNS: an organization whose record is gone for 16 days gives way to "
    "yours. Or write to us.",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one look found. `found` is None where the name servers did not say; `seen` are the records that are there.

    `code` is a key of REMEDIES, or `found`.
    """

    found: bool | None
    code: str
    sentence: str
    seen: tuple[str, ...] = ()


def look(domain: str, token: str) -> Evidence:
    """Ask DNS for the record of a domain. No transaction may be open."""
    place, wanted = record_of(domain), VALUE + token
    try:
        there = dns.txt(place, timeout=PATIENCE)
    except dns.Unanswered as unanswered:
        return Evidence(None, "unanswered", str(unanswered))
    if any(_plain(one) == wanted for one in there.values):
        return Evidence(True, "found", "The record is there.")
    seen = tuple(one[:LONGEST_SEEN] for one in there.values[:MOST_SEEN])
    if any(_plain(one).startswith(VALUE) for one in there.values):
        return Evidence(False, "other_token", f"The record at {place} has another token.", seen)
    if seen:
        return Evidence(False, "other_values", f"There are TXT records at {place}, but not this one.", seen)
    if there.alias:
        return Evidence(False, "alias", f"{place} is a CNAME of {there.alias[:150]}, where there is no TXT record.")
    return _elsewhere(domain, wanted) or Evidence(False, "absent", f"There is no TXT record at {place} yet.")


def _elsewhere(domain: str, wanted: str) -> Evidence | None:
    """Whether the record stands where people put it by mistake, or there is no such domain at all."""
    try:
        apex = dns.txt(domain, timeout=HINT_PATIENCE)
        if any(_plain(one) == wanted for one in apex.values):
            return Evidence(False, "at_the_apex", f"The record stands at {shown(domain)} itself.")
        twice = f"{record_of(domain)}.{domain}"
        if len(twice) <= 253 and any(_plain(one) == wanted for one in dns.txt(twice, timeout=HINT_PATIENCE).values):
            return Evidence(False, "doubled", f"The record stands at {twice}: the domain is in its name twice.")
    except dns.Unanswered:
        return None
    return None if apex.exists else Evidence(False, "no_domain", f"{shown(domain)} does not exist in DNS.")


def _plain(value: str) -> str:
    """A value without the quotes and blanks that are pasted along."""
    return value.strip().strip("\"'").strip()
