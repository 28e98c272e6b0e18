"""What a look at DNS finds, and what is said about each thing that people do wrong."""

import pytest

from tenancy.sso.domains import evidence, services
from tenancy.sso.domains.evidence import REMEDIES, look, remedy_of
from tests.zones import Strings, Zone

DOMAIN, TOKEN = "acme.com", "f" * 40
PLACE, RIGHT = f"_capsule-challenge.{DOMAIN}", f"capsule-domain-verification={TOKEN}"


@pytest.fixture(autouse=True)
def _exists(zone: Zone) -> None:
    """Have the domain itself exist."""
    zone.others.add(DOMAIN)


@pytest.mark.parametrize(
    "values",
    [
        [RIGHT],
        ["v=spf1 -all", RIGHT, "google-site-verification=x"],
        [(RIGHT[:10], RIGHT[10:])],
        [f'"{RIGHT}"'],
        [f"  {RIGHT} "],
        [f"capsule-domain-verification={'0' * 40}", RIGHT],
    ],
    ids=["alone", "among others", "in two strings", "with pasted quotes", "with blanks", "beside another's"],
)
def test_the_record_is_found(zone: Zone, values: list[Strings]) -> None:
    zone.texts[PLACE] = values
    found = look(DOMAIN, TOKEN)
    assert (found.found, found.code, found.seen) == (True, "found", ())
    assert [name for name, _ in zone.asked] == [PLACE]


def test_the_record_is_found_behind_an_alias(zone: Zone) -> None:
    zone.aliases[PLACE] = "proofs.acme.net"
    zone.texts["proofs.acme.net"] = [RIGHT]
    assert look(DOMAIN, TOKEN).found


@pytest.mark.parametrize(
    ("texts", "code", "seen"),
    [
        ({}, "absent", ()),
        ({DOMAIN: [RIGHT]}, "at_the_apex", ()),
        ({f"{PLACE}.{DOMAIN}": [RIGHT]}, "doubled", ()),
        ({PLACE: ["v=spf1 -all", TOKEN]}, "other_values", (TOKEN, "v=spf1 -all")),
        ({PLACE: [RIGHT + "0"]}, "other_token", (RIGHT + "0",)),
        ({PLACE: [RIGHT.upper()]}, "other_values", (RIGHT.upper(),)),
    ],
)
def test_each_mistake_has_a_name(zone: Zone, texts: dict[str, list[Strings]], code: str, seen: tuple[str]) -> None:
    zone.texts |= texts
    found = look(DOMAIN, TOKEN)
    assert (found.found, found.code, found.seen) == (False, code, seen)


def test_a_record_of_a_subdomain_that_stands_one_level_too_high_or_has_the_zone_twice_is_told(zone: Zone) -> None:
    below = f"labs.{DOMAIN}"
    zone.others.add(below)
    zone.texts[PLACE] = [RIGHT]
    assert look(below, TOKEN).code == "too_high"
    zone.texts = {f"_capsule-challenge.{below}.{DOMAIN}": [RIGHT]}
    assert look(below, TOKEN).code == "doubled"
    assert remedy_of("doubled", below).startswith(
        "Your DNS provider adds the domain by itself: enter _capsule-challenge.labs "
    )
    assert "in the DNS of acme.com, its name must be _capsule-challenge.labs." in remedy_of("too_high", below)


@pytest.mark.parametrize("code", REMEDIES)
def test_every_remedy_is_a_sentence_for_the_domain(code: str) -> None:
    assert remedy_of(code, "labs.acme.co.uk").endswith(".")
    assert "{" not in remedy_of(code, "labs.acme.co.uk")
    assert not remedy_of("found", DOMAIN)


def test_an_alias_without_a_record_says_where_it_leads(zone: Zone) -> None:
    zone.aliases[PLACE] = "gone.acme.net"
    found = look(DOMAIN, TOKEN)
    assert (found.found, found.code) == (False, "alias")
    assert "gone.acme.net" in found.sentence


def test_a_domain_that_does_not_exist_is_told_apart(zone: Zone) -> None:
    zone.others.clear()
    assert look(DOMAIN, TOKEN).code == "no_domain"
    assert look(f"labs.{DOMAIN}", TOKEN).code == "absent"  # nothing else need be there


@pytest.mark.parametrize("how", ["SERVFAIL", "REFUSED", "silence", "noise"])
def test_servers_that_do_not_say_prove_nothing_and_deny_nothing(
    zone: Zone, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "PATIENCE", 0.3)
    zone.bad[PLACE] = how
    found = look(DOMAIN, TOKEN)
    assert (found.found, found.code) == (None, "unanswered")


def test_a_failing_explanation_leaves_what_is_known(zone: Zone) -> None:
    zone.bad[DOMAIN] = "SERVFAIL"
    assert look(DOMAIN, TOKEN).code == "absent"


def test_of_a_hundred_records_the_first_are_shown_shortened_and_the_right_one_is_found(zone: Zone) -> None:
    zone.texts[PLACE] = [f"{n:03}{'x' * 400}" for n in range(100)]
    found = look(DOMAIN, TOKEN)
    assert len(found.seen) == evidence.MOST_SEEN
    assert {len(one) for one in found.seen} == {evidence.LONGEST_SEEN}
    zone.texts[PLACE].append(f"zzz{RIGHT}")
    zone.texts[PLACE].append(RIGHT)
    assert look(DOMAIN, TOKEN).found


def test_every_sentence_fits_into_its_column(zone: Zone) -> None:
    long = ".".join(["a" * 58] * 3 + ["b" * 42, "com"])
    zone.aliases[f"_capsule-challenge.{long}"] = ".".join(["c" * 60] * 4)
    assert len(look(long, TOKEN).sentence) <= 600
    del zone.aliases[f"_capsule-challenge.{long}"]
    assert len(look(long, TOKEN).sentence) <= 600


def test_the_remedy_says_how_long_a_domain_is_kept_for_its_last_owner() -> None:
    days = (services.LOST_AFTER + services.YIELDS_AFTER).days
    assert f"for {days} days" in REMEDIES["held"]
