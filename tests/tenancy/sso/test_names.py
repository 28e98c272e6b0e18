"""Which names are domains that an organization can own, whatever is typed."""

import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenancy.errors import Invalid
from tenancy.sso.domains.names import LONGEST, clean, label_of, record_of, shown, zone_of

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True).filter(lambda one: one[2:4] != "--")
DOMAIN = st.lists(LABEL, min_size=1, max_size=4).map(lambda labels: ".".join([*labels, "acme-corp.com"]))


@pytest.mark.parametrize(
    ("typed", "domain"),
    [
        ("acme.com", "acme.com"),
        (" ACME.Com. ", "acme.com"),
        ("students.acme.co.uk", "students.acme.co.uk"),
        ("bücher.de", "xn--bcher-kva.de"),
        ("XN--BCHER-KVA.de", "xn--bcher-kva.de"),
        ("faß.de", "xn--fa-hia.de"),
        ("acme\u3002com", "acme.com"),  # as it is typed on a Japanese keyboard
        ("\uff21\uff23\uff2d\uff25.com", "acme.com"),
        ("acme.github.io", "acme.github.io"),
        ("acme.xn--55qx5d.cn", "acme.xn--55qx5d.cn"),
        ("gmx-logistics.com", "gmx-logistics.com"),
    ],
)
def test_a_domain_is_kept_as_dns_has_it(typed: str, domain: str) -> None:
    assert clean(typed) == domain


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "Write the domain alone"),
        ("acme", "no domain of the public internet"),
        ("acme.local", "no domain of the public internet"),
        ("acme.test", "no domain of the public internet"),
        ("10.0.0.1", "no domain of the public internet"),
        ("2130706433", "no domain of the public internet"),
        ("ada@acme.com", "an address or a link"),
        ("https://acme.com/", "an address or a link"),
        ("acme.com:443", "an address or a link"),
        ("*.acme.com", "add each subdomain"),
        ("acme .com", "no domain name"),
        ("acme..com", "no domain name"),
        ("-acme.com", "no domain name"),
        ("ac_me.com", "no domain name"),
        ("acme.com\0", "no domain name"),
        ("xn--a.com", "no domain name"),
        ("xn--.com", "no domain name"),
        ("a" * 64 + ".com", "no domain name"),
        (".".join(["a" * 60] * 4) + ".com", "longer than"),
        ("a." * 127 + "com", "Write the domain alone"),
        ("com", "nobody owns it"),
        ("co.uk", "nobody owns it"),
        ("GitHub.io", "nobody owns it"),
        ("公司.cn", "nobody owns it"),
        ("gmail.com", "Everybody can have an address"),
        ("GoogleMail.com.", "Everybody can have an address"),
        ("eu.outlook.com", "Everybody can have an address"),
        ("yahoo.co.jp", "Everybody can have an address"),
        ("gmx.at", "Everybody can have an address"),
    ],
)
def test_what_nobody_can_own_is_refused_with_what_to_write(typed: str, says: str) -> None:
    with pytest.raises(Invalid, match=says) as refused:
        clean(typed)
    assert refused.value.field == "domain"


def check_that_it_is_a_domain_or_refused(text: str) -> None:
    """Whatever is typed: nothing but Invalid is raised, and a domain stays the same when it is typed again."""
    domain = None
    with suppress(Invalid):
        domain = clean(text)
    if domain is not None:
        assert re.fullmatch(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}", domain)
        assert len(record_of(domain)) <= 253
        assert clean(domain) == domain == clean(shown(domain))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_whatever_is_typed_is_a_domain_or_refused(text: str) -> None:
    check_that_it_is_a_domain_or_refused(text)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="aß.-_*@/:\u200d\u3002ü公司①\u0660 \0xn", max_size=40))
def test_whatever_is_typed_before_a_known_ending_is_a_domain_or_refused(text: str) -> None:
    check_that_it_is_a_domain_or_refused(f"{text}.com")


@settings(max_examples=300, deadline=None)
@given(DOMAIN, st.booleans(), st.sampled_from(["", "."]), st.sampled_from(["", " ", "\n", "\t "]))
def test_a_good_domain_is_the_same_in_capitals_with_a_dot_or_blanks(
    domain: str, is_loud: bool, dot: str, blanks: str
) -> None:
    assert len(domain) <= LONGEST
    assert clean(blanks + (domain.upper() if is_loud else domain) + dot + blanks) == domain


@pytest.mark.parametrize(("domain", "people_s"), [("xn--bcher-kva.de", "bücher.de"), ("acme.com", "acme.com")])
def test_people_read_a_domain_as_they_write_it(domain: str, people_s: str) -> None:
    assert shown(domain) == people_s


@pytest.mark.parametrize(
    ("domain", "zone", "label"),
    [
        ("acme.com", "acme.com", "_capsule-challenge"),
        ("labs.acme.co.uk", "acme.co.uk", "_capsule-challenge.labs"),
        ("a.b.acme.github.io", "acme.github.io", "_capsule-challenge.a.b"),
    ],
)
def test_a_record_is_named_as_dns_providers_want_it(domain: str, zone: str, label: str) -> None:
    assert (zone_of(domain), label_of(domain)) == (zone, label)
    assert f"{label}.{zone}" == record_of(domain)
