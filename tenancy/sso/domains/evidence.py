"""Looks a domain's record up in DNS, and says in plain words what was found and what helps."""

from dataclasses import dataclass

from capsule_cloud.lib import dns
from tenancy.sso.domains.names import VALUE, label_of, record_of, shown, zone_of

PATIENCE, HINT_PATIENCE = 5.0, 2.0  # seconds for the look-up, and for each that only explains a failure
MOST_SEEN, LONGEST_SEEN = 10, 200
LONGEST_NAME = 253
REMEDIES = {
    "absent": "Add the TXT record at your DNS provider. A new record is seen within minutes; where one was asked for "
    "too early, some name servers remember for up to an hour that there was none.",
    "no_domain": "Check the spelling. A domain that was registered lately needs name servers first.",
    "other_values": "Add one more TXT record with the value shown here, or correct this one. Several may stand at one "
    "name.",
    "other_token": "Copy the value shown here anew and add it as one more TXT record. The one that is there may be of "
    "another organization, and may stay.",
    "at_the_apex": "Move it: its name must be {label}, not @ or empty.",
    "doubled": "Your DNS provider adds the domain by itself: enter {label} alone as the name of the record.",
    "too_high": "Move it: in the DNS of {zone}, its name must be {label}.",
    "alias": "Correct the target of the CNAME, or replace it by the TXT record.",
    "unanswered": "Nothing is lost, and we try again. If it stays so, let whoever runs your DNS check the name servers "
    "and DNSSEC.",
    "withdrawn": "If the domain is yours, put your record into its DNS and check. Else remove it. Or write to us.",
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


def remedy_of(code: str, domain: str) -> str:
    """What helps when a look has found this; nothing where no help is needed."""
    return REMEDIES.get(code, "").format(label=label_of(domain), zone=shown(zone_of(domain)))


def _elsewhere(domain: str, wanted: str) -> Evidence | None:
    """Whether the record stands where people put it by mistake, or there is no such domain at all."""
    zone, place = zone_of(domain), record_of(domain)
    mistakes = {
        domain: Evidence(False, "at_the_apex", f"The record stands at {shown(domain)} itself."),
        f"{place}.{zone}": Evidence(
            False, "doubled", f"The record stands at {place}.{zone}: {zone} is in its name twice."
        ),
        record_of(zone): Evidence(False, "too_high", f"The record stands at {record_of(zone)}, for {zone} itself."),
    }
    exists = True
    try:
        for name, mistake in mistakes.items():
            if name == place or len(name) > LONGEST_NAME:
                continue
            there = dns.txt(name, timeout=HINT_PATIENCE)
            if any(_plain(one) == wanted for one in there.values):
                return mistake
            exists = there.exists if name == domain == zone else exists  # a subdomain may well hold only this record
    except dns.Unanswered:
        return None
    return None if exists else Evidence(False, "no_domain", f"{shown(domain)} does not exist in DNS.")


def _plain(value: str) -> str:
    """A value without the quotes and blanks that are pasted along."""
    return value.strip().strip("\"'").strip()
