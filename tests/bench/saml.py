"""How long a sign-in by SAML takes, from the posted answer to the session, beside pysaml2 that only parses it."""

import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from allauth.account.models import EmailAddress
from django.conf import settings
from django.test import override_settings

from capsule_cloud.lib import crypto
from tenancy.models import Membership, Organization, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso.models import ExternalIdentity, IdentityProvider
from tenancy.sso.saml import configuration
from tenancy.sso.saml.signatures import InProcess
from tests.bench import house, report
from tests.bench.machine import Cpu
from tests.bench.report import Row
from tests.bench.world import NO_LIMIT, World
from tests.factories import make_tenant
from tests.identity_provider import ASSERTION, SamlProvider, assertion_of, new_id, posted, response_of, template
from tests.tenancy.sso.saml.conftest import connect, own

SIGN_INS, QUICK_SIGN_INS, WARM = 300, 60, 12
ROUNDS = 6  # ours and pysaml2 in turn
ALLOWED, SHARE = 0.25, 0.7  # seconds of the slowest twentieth; of pysaml2's rate
PEOPLE = 120  # who have come before: each has a few sessions, as in the world


def measure(world: World) -> str:
    """A table: sign-ins over HTTP, one after the other, beside bare parsing of the same answers in this process."""
    count = QUICK_SIGN_INS if world.is_quick else SIGN_INS
    tenant, idp = make_tenant(), SamlProvider()
    row = connect(tenant, idp, is_unsolicited_allowed=True)
    people = cycle(_people(row, own(tenant)))
    with house.product() as server, override_settings(PUBLIC_URL=server.url), TemporaryDirectory() as folder:
        made = iter([_answer(idp, row, next(people)) for _ in range(3 * (WARM + count))])
        ours, bare, spared = _sign_in(server.url, row), _bare(row, Path(folder)), _spared(row)
        for way in (ours, bare, spared):
            _timed(way, [next(made) for _ in range(WARM)])
        cpu = Cpu()
        mine: list[float] = []
        theirs: list[float] = []
        least: list[float] = []
        for _ in range(ROUNDS):
            mine += _timed(ours, [next(made) for _ in range(count // ROUNDS)])
            theirs += _timed(bare, [next(made) for _ in range(count // ROUNDS)])
            least += _timed(spared, [next(made) for _ in range(count // ROUNDS)])
        others = cpu.others()
    share = _share(mine, theirs)
    slow = quantiles(mine, n=20, method="inclusive")[18]
    rows = [
        Row(
            "the posted answer → the session",
            _told(mine),
            _told(theirs),
            report.ratio(share),
            f"≥ {SHARE:g} x",
            share >= SHARE,
        ),
        Row(
            "… beside the same without pysaml2's reading of our key",
            "",
            _told(least),
            report.ratio(_share(mine, least)),
        ),
        Row("p95", f"{1000 * slow:.0f} ms", "", "", f"< {1000 * ALLOWED:.0f} ms", slow < ALLOWED),
    ]
    told = f"{len(mine)} sign-ins over HTTP, two requests each"
    table = report.table((told, "pysaml2 parses, as it is shipped, on the same backend"), rows)
    return f"{table}\n\nOthers used {others:.0%} of the machine meanwhile."


def _people(row: IdentityProvider, domain: str) -> list[str]:
    """The addresses of people whom the provider has brought before."""
    addresses = [f"person-{number}@{domain}" for number in range(PEOPLE)]
    with scope(row.organization_id):
        Organization.objects.update(member_limit=NO_LIMIT)
        for address in addresses:
            user = User.objects.create_user(address, name="Ada")
            EmailAddress.objects.create(user=user, email=address, verified=True, primary=True)
            Membership.objects.create(user=user, role=Role.VIEWER)
            ExternalIdentity.objects.create(provider=row, subject=address, user=user)
    return addresses


def _share(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """Our rate, of theirs."""
    return sum(theirs) / len(theirs) / (sum(mine) / len(mine))


def _told(times: Sequence[float]) -> str:
    return f"{len(times) / sum(times):.1f}/s, p50 {1000 * median(times):.0f} ms, at most {1000 * max(times):.0f} ms"


def _timed(way: Callable[[str], None], answers: Sequence[str]) -> list[float]:
    times = []
    for answer in answers:
        begun = time.perf_counter()
        way(answer)
        times.append(time.perf_counter() - begun)
    return times


def _answer(idp: SamlProvider, row: IdentityProvider, email: str) -> str:
    """An answer that nobody asked for, its assertion signed as Entra ID does."""
    said = idp.says(row, email, None).but(
        not_on_or_after=3600, confirmed_until=3600, attributes={"displayName": ["Ada"]}
    )
    before, issuer, after = assertion_of(said).partition("</saml:Issuer>")
    blank = f"{before}{issuer}{template(said.assertion_id)}{after}"
    signed = InProcess({"idp": idp.key.encode()}).sign_statement(blank, ASSERTION, "idp", said.assertion_id)
    return posted(response_of(said.but(response_id=new_id()), signed))


def _sign_in(url: str, row: IdentityProvider) -> Callable[[str], None]:
    """Post an answer and come for the session, as a browser that was never here."""
    connection = httpx.Client(base_url=url)

    def come(answer: str) -> None:
        connection.cookies.clear()
        taken = connection.post(f"/sso/saml/{row.pk}/acs/", data={"SAMLResponse": answer})
        assert taken.status_code == 303, taken.text
        home = connection.get(taken.headers["Location"])
        assert (home.status_code, settings.SESSION_COOKIE_NAME in connection.cookies) == (302, True), home.text

    return come


def _bare(row: IdentityProvider, folder: Path) -> Callable[[str], None]:
    """pysaml2 as it is documented: a kept configuration, a client for each answer, and nothing looked at beside."""
    from saml2.client import Saml2Client  # noqa: PLC0415  # 2 s and 52 MiB
    from saml2.config import SPConfig  # noqa: PLC0415  # 2 s and 52 MiB

    key, certificate = folder / "ours.key", folder / "ours.crt"
    key.write_bytes(crypto.unseal(row.key))
    certificate.write_text(row.certificate)
    pair = {"key_file": str(key), "cert_file": str(certificate)}
    acs = configuration.acs_url(row.pk)
    config = SPConfig()
    config.load(
        {
            "entityid": configuration.entity_id(row.pk),
            "xmlsec_binary": sys.executable,  # it must be there, and is not run
            **pair,
            "encryption_keypairs": [pair],
            "metadata": {"inline": [row.metadata]},
            "service": {
                "sp": {
                    "endpoints": {"assertion_consumer_service": [(acs, configuration.POST)]},
                    "allow_unsolicited": True,
                    "want_assertions_signed": True,
                    "want_response_signed": False,
                }
            },
        }
    )
    backend = InProcess({str(key): key.read_bytes()})

    def parse(answer: str) -> None:
        client: Any = Saml2Client(config)
        client.sec.crypto = backend
        found = client.parse_authn_request_response(answer, configuration.POST, conv_info={"entity_id": acs})
        assert found.assertions

    return parse


def _spared(row: IdentityProvider) -> Callable[[str], None]:
    """The same with what we keep: pysaml2 reads our key for each client, which takes longer than all the rest."""
    acs = configuration.acs_url(row.pk)

    def parse(answer: str) -> None:
        found = configuration.client(row).parse_authn_request_response(
            answer, configuration.POST, conv_info={"entity_id": acs}
        )
        assert found.assertions

    return parse
