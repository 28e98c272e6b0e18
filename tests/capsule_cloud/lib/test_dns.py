"""The door to DNS: what it reads of a zone, whatever a zone or a name server makes of it."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from capsule_cloud import env
from capsule_cloud.lib import dns
from capsule_cloud.lib.dns import Records, Unanswered, txt
from capsule_cloud.lib.http import OpenTransaction
from tests.zones import Zone, asks

NAME = "_capsule-challenge.acme.com"


@pytest.fixture
def zone(settings: Any) -> Iterator[Zone]:
    """The name server that is asked."""
    with Zone() as server:
        asks(settings, server)
        yield server


def test_every_value_of_a_name_is_read(zone: Zone) -> None:
    zone.texts[NAME] = ["v=spf1 -all", "token=1", ""]
    assert txt(NAME, timeout=5) == Records(("", "token=1", "v=spf1 -all"))


def test_a_value_that_is_split_into_strings_is_one_text(zone: Zone) -> None:
    zone.texts[NAME] = [("tok", "en", "=1"), "a" * 300]
    assert txt(NAME, timeout=5).values == ("a" * 300, "token=1")


def test_a_name_is_the_same_in_capitals(zone: Zone) -> None:
    zone.texts[NAME] = ["token=1"]
    assert txt(NAME.upper(), timeout=5).values == ("token=1",)


def test_aliases_are_followed_and_named(zone: Zone) -> None:
    zone.aliases |= {NAME: "one.example.net", "one.example.net": "two.example.net"}
    zone.texts["two.example.net"] = ["token=1"]
    assert txt(NAME, timeout=5) == Records(("token=1",), alias="two.example.net")


def test_an_alias_that_leads_nowhere_says_where_it_leads(zone: Zone) -> None:
    zone.aliases |= {NAME: "gone.example.net", "other.acme.com": "mail.example.net"}
    zone.others.add("mail.example.net")
    assert txt(NAME, timeout=5) == Records(exists=False, alias="gone.example.net")
    assert txt("other.acme.com", timeout=5) == Records(alias="mail.example.net")


def test_no_name_and_no_txt_record_are_told_apart(zone: Zone) -> None:
    zone.others.add("acme.com")
    assert txt("acme.com", timeout=5) == Records()
    assert txt(NAME, timeout=5) == Records(exists=False)


def test_what_is_cut_off_is_asked_for_again_over_tcp(zone: Zone) -> None:
    zone.cuts_off, zone.texts[NAME] = True, ["token=1"]
    assert txt(NAME, timeout=5).values == ("token=1",)
    assert zone.asked == [(NAME, "udp"), (NAME, "tcp")]


def test_hundreds_of_long_values_are_read_and_cut_to_what_can_be_shown(zone: Zone) -> None:
    zone.texts[NAME] = [f"{n}-{'x' * 600}" for n in range(90)]
    found = txt(NAME, timeout=5)
    assert len(found.values) == 90
    assert {len(one) for one in found.values} == {dns.LONGEST_VALUE}


def test_values_hold_nothing_that_cannot_be_shown_or_stored(zone: Zone) -> None:
    zone.texts[NAME] = ["zero\0escape\x1b[31m", "\udcff\udcfe", "grün \u202e"]
    mark = "\N{REPLACEMENT CHARACTER}"
    assert txt(NAME, timeout=5).values == (f"grün {mark}", f"zero{mark}escape{mark}[31m", mark * 2)


@pytest.mark.parametrize("how", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP", "YXDOMAIN"])
def test_a_server_that_could_not_say_is_no_answer(zone: Zone, how: str) -> None:
    zone.bad[NAME] = how
    with pytest.raises(Unanswered) as said:
        txt(NAME, timeout=5)
    assert said.value.code == "failed"


@pytest.mark.parametrize("how", ["silence", "noise"])
def test_silence_and_noise_end_with_the_deadline(zone: Zone, how: str) -> None:
    zone.bad[NAME] = how
    with pytest.raises(Unanswered):
        txt(NAME, timeout=0.3)


def test_aliases_in_a_circle_are_no_answer(zone: Zone) -> None:
    zone.aliases |= {NAME: "b.acme.com", "b.acme.com": NAME}
    with pytest.raises(Unanswered) as said:
        txt(NAME, timeout=5)
    assert said.value.code == "failed"


@pytest.mark.parametrize("how", ["SERVFAIL", "REFUSED", "noise"])
def test_the_next_server_is_asked_when_one_fails(settings: Any, how: str) -> None:
    with ExitStack() as open_:
        broken, good = open_.enter_context(Zone(bad={NAME: how})), open_.enter_context(Zone(texts={NAME: ["token=1"]}))
        asks(settings, broken, good)
        assert txt(NAME, timeout=5).values == ("token=1",)


def test_nothing_listens_is_no_answer(settings: Any) -> None:
    with Zone() as closed:
        asks(settings, closed)
    with pytest.raises(Unanswered):
        txt(NAME, timeout=0.3)


@pytest.mark.django_db
def test_nobody_is_asked_while_a_transaction_is_open(zone: Zone) -> None:
    with transaction.atomic(), pytest.raises(OpenTransaction):
        txt(NAME, timeout=5)
    assert not zone.asked


def test_without_a_setting_the_machine_s_own_servers_are_asked(settings: Any) -> None:
    settings.DNS_NAMESERVERS = []
    assert dns._resolver().nameservers


def test_name_servers_are_addresses_with_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNS_NAMESERVERS", "9.9.9.9, 10.0.0.2:5353,[2620:fe::fe]:54,2620:fe::9")
    assert env.hosts("DNS_NAMESERVERS", 53) == [
        ("9.9.9.9", 53),
        ("10.0.0.2", 5353),
        ("2620:fe::fe", 54),
        ("2620:fe::9", 53),
    ]


@pytest.mark.parametrize("wrong", ["dns.example.com", "9.9.9.9:port", "9.9.9.9:99999", "9.9.9", "1.1.1.1/24", ":53"])
def test_a_name_server_that_is_no_address_does_not_boot(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNS_NAMESERVERS", wrong)
    with pytest.raises(ImproperlyConfigured, match="DNS_NAMESERVERS"):
        env.hosts("DNS_NAMESERVERS", 53)
