"""The door to customers' addresses: what it refuses, what it pins, and that no bad server holds it up."""

import datetime
import ipaddress
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import transaction

from capsule_cloud.lib import http
from capsule_cloud.lib.http import Blocked, Door, OpenTransaction, Unanswered, place
from tests.targets import Received, Target, says

MakeDoor = Callable[..., Door]
Certified = tuple[Target, Any]  # the server; the context that trusts it, and the names it was asked under
NAME = "hooks.example.com"


@pytest.fixture
def target() -> Iterator[Target]:
    """A customer's server on this machine."""
    with Target() as server:
        yield server


@pytest.fixture
def make_door() -> Iterator[MakeDoor]:
    """Makes doors with no connections yet, which are closed at the end."""
    with ExitStack() as made:
        yield lambda *parts: made.enter_context(closing(Door(*parts)))


@pytest.fixture
def door(make_door: MakeDoor) -> Door:
    """A door as it is."""
    return make_door()


@pytest.fixture
def in_production(settings: Any) -> None:
    """As production has it: nothing on this machine may be asked."""
    settings.EGRESS_LOOPBACK = False


def post(door: Door, url: str, *, body: bytes = b"{}", timeout: float = 10, most: int = 1000) -> http.Answer:
    return door.send("POST", url, headers={"Content-Type": "application/json"}, body=body, timeout=timeout, most=most)


FORMS = [
    *("http://93.184.216.34/", "http://hooks.example.com/", "ftp://hooks.example.com/", "file:///etc/passwd"),
    *("gopher://hooks.example.com/", "hooks.example.com", "//hooks.example.com/", "https://", "https:///x", ""),
    *("https://user:word@hooks.example.com/", "https://hooks.example.com\\@127.0.0.1/", "https://a@127.0.0.1/"),
    *("https://hooks.example.com:22/", "https://hooks.example.com:6379/", "https://hooks.example.com:99999/"),
    # this machine, and every way to write it
    *("https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/"),
    *("https://0177.0.0.1/", "https://017700000001/", "https://127.0.0.1./", "https://%31%32%37.0.0.1/"),
    *(
        "https://127。0。0。1/",
        "https://①②⑦.0.0.1/",
        "https://localhost/",
        "https://LOCALHOST/",
        "https://a.localhost/",
    ),
    *("https://[::1]/", "https://[0:0:0:0:0:0:0:1]/", "https://[::]/", "https://0.0.0.0/", "https://0/"),
    # IPv4 inside IPv6
    *("https://[::ffff:127.0.0.1]/", "https://[::ffff:a9fe:a9fe]/", "https://[::127.0.0.1]/"),
    *("https://[64:ff9b::7f00:1]/", "https://[64:ff9b:1::a00:1]/", "https://[2002:7f00:1::]/", "https://[2001::1]/"),
    # private, link-local, carriers', metadata, multicast, reserved
    *("https://10.0.0.1/", "https://172.16.0.1/", "https://172.31.255.255/", "https://192.168.0.1/"),
    *("https://169.254.169.254/latest/meta-data/", "https://100.64.0.1/", "https://100.100.100.200/"),
    *("https://168.63.129.16/", "https://192.0.0.192/", "https://198.18.0.1/", "https://224.0.0.1/"),
    *("https://240.0.0.1/", "https://255.255.255.255/", "https://[fe80::1]/", "https://[fe80::1%25eth0]/"),
    *("https://[fd00:ec2::254]/", "https://[fc00::1]/", "https://[ff02::1]/", "https://[2001:db8::1]/"),
    # no name that the internet knows
    *("https://vault/", "https://metadata/", "https://exa\tmple.com/", "https://ex ample.com/", "https://-a.com/"),
    "https://" + "a" * 64 + ".com/",
    "https://hooks.example.com/" + "a" * http.LONGEST_URL,
]


@pytest.mark.parametrize("url", FORMS)
@pytest.mark.usefixtures("in_production")
def test_what_an_address_must_not_be_is_refused_before_any_look_up(url: str, make_door: MakeDoor) -> None:
    def nobody(host: str, port: int) -> list[str]:
        pytest.fail(f"looked {host} up")

    with pytest.raises(Blocked):
        post(make_door(nobody), url)


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("https://hooks.example.com", NAME, 443, b"/"),
        ("HTTPS://Hooks.Example.COM:443/a b?c=ü#d", NAME, 443, b"/a%20b?c=%C3%BC"),
        ("https://hooks.example.com.:8443/x", NAME, 8443, b"/x"),
        ("https://bücher.example/x", "xn--bcher-kva.example", 443, b"/x"),
        ("https://93.184.216.34/", "93.184.216.34", 443, b"/"),
        ("https://[2606:2800:220:1::1]/", "2606:2800:220:1::1", 443, b"/"),
        ("https://a_b.example.com/", "a_b.example.com", 443, b"/"),
    ],
)
@pytest.mark.usefixtures("in_production")
def test_what_an_address_may_be(url: str, host: str, port: int, target: bytes) -> None:
    found = place(url)
    assert (found.host, found.port, found.target, found.is_local) == (host, port, target, False)


PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.20.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),  # noqa: S104
    *("255.255.255.255", "168.63.129.16", "::1", "::", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "fe80::1%eth0"),
    *("fd00::1", "64:ff9b::a00:1", "2002:a00:1::", "2001::a", "ff02::1", "2001:db8::1"),
]


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("beside", [[], ["93.184.216.34"]])
@pytest.mark.usefixtures("in_production")
def test_a_name_with_one_closed_address_is_not_asked_at_all(
    address: str, beside: list[str], make_door: MakeDoor
) -> None:
    with pytest.raises(Blocked, match="public internet"):
        post(make_door(lambda host, port: [*beside, address]), f"https://{NAME}/")


@pytest.mark.usefixtures("in_production")
def test_nobody_learns_which_names_our_network_knows(make_door: MakeDoor) -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise OSError

    sentences = set()
    for resolve in (unknown, lambda host, port: ["10.0.0.1"]):
        with pytest.raises(Blocked) as refused:
            post(make_door(resolve), "https://vault.corp.example/")
        sentences.add(str(refused.value))
    assert sentences == {"vault.corp.example does not lead to an address on the public internet."}


def test_production_does_not_ask_this_machine_where_development_may(target: Target, door: Door, settings: Any) -> None:
    assert post(door, target.url).status == 200
    assert post(door, f"http://localhost:{target.port}/").status == 200
    settings.EGRESS_LOOPBACK = False
    with pytest.raises(Blocked):
        post(door, target.url)
    assert len(target.received) == 2


def test_development_asks_nothing_but_this_machine_in_the_clear(door: Door, make_door: MakeDoor) -> None:
    with pytest.raises(Blocked, match="https"):
        post(door, "http://192.168.0.1/")
    with pytest.raises(Blocked, match="public internet"):
        post(make_door(lambda host, port: ["192.168.0.1"]), "http://localhost/")
    with pytest.raises(Blocked, match="public internet"):
        post(make_door(lambda host, port: ["127.0.0.1"]), f"https://{NAME}/")


@pytest.fixture
def certified(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Certified]:
    """A server with a certificate for NAME, whose address counts as public."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(*pem))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, secret)
    asked: list[str | None] = []
    server.sni_callback = lambda wire, host, context: asked.append(host)
    monkeypatch.setattr(http, "CLOSED_4", ())
    with Target(tls=server) as target:
        settings.EGRESS_PORTS = {target.port}
        yield target, (ssl.create_default_context(cafile=chain), asked)


def test_the_checked_address_is_asked_under_the_name_of_the_url(certified: Certified, make_door: MakeDoor) -> None:
    target, (tls, asked) = certified
    door = make_door(lambda host, port: ["127.0.0.1"], tls)
    answer = post(door, f"https://{NAME}:{target.port}/a?b=c", body=b"[1]")
    assert answer.status == 200
    assert asked == [NAME]
    [got] = target.received
    assert (got.method, got.path, got.headers["host"], got.body) == ("POST", "/a?b=c", f"{NAME}:{target.port}", b"[1]")


def test_a_certificate_of_another_name_is_no_answer(certified: Certified, make_door: MakeDoor) -> None:
    target, (tls, _) = certified
    with pytest.raises(Unanswered) as failed:
        post(make_door(lambda host, port: ["127.0.0.1"], tls), f"https://other.example.com:{target.port}/")
    assert failed.value.code == "tls"
    assert target.received == []


def test_a_name_that_changes_its_answer_after_the_check_leads_nowhere_else(
    certified: Certified, monkeypatch: pytest.MonkeyPatch, make_door: MakeDoor
) -> None:
    target, (tls, _) = certified
    monkeypatch.setattr(http, "CLOSED_4", (ipaddress.IPv4Network("169.254.0.0/16"),))
    answers = iter([["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1", "169.254.169.254"]])
    looked_up = []

    def rebinding(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return next(answers)

    door = make_door(rebinding, tls)
    url = f"https://{NAME}:{target.port}/"
    assert post(door, url).status == 200
    assert looked_up == [NAME]  # once: what was checked is what was connected to
    assert post(door, url).status == 200
    assert target.connections == 1  # the kept connection still leads to the checked address
    for _ in range(2):
        with pytest.raises(Blocked):
            post(make_door(rebinding, tls), url)
    assert len(target.received) == 2


def test_a_second_address_serves_when_the_first_is_dead(certified: Certified, make_door: MakeDoor) -> None:
    target, (tls, _) = certified
    assert (
        post(make_door(lambda host, port: ["127.0.0.2", "127.0.0.1"], tls), f"https://{NAME}:{target.port}/").status
        == 200
    )


def test_a_proxy_gets_the_checked_address_and_no_name(certified: Certified, settings: Any, make_door: MakeDoor) -> None:
    target, (tls, asked) = certified

    def tunnel(wire: Any, request: Received) -> None:
        with socket.create_connection(("127.0.0.1", target.port)) as there:
            wire.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            ends = {wire: there, there: wire}
            while True:
                for ready in select.select(list(ends), [], [], 10)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    ends[ready].sendall(data)

    with Target(tunnel) as proxy:
        settings.EGRESS_PROXY = f"http://127.0.0.1:{proxy.port}"
        local = partial(make_door, lambda host, port: ["127.0.0.1"], tls)
        assert post(local(), f"https://{NAME}:{target.port}/").status == 200
        assert asked == [NAME]
        assert (proxy.received[0].method, proxy.received[0].path) == ("CONNECT", f"127.0.0.1:{target.port}")
        proxy.behaviour = says(403)
        with pytest.raises(Unanswered):
            post(local(), f"https://{NAME}:{target.port}/")
        with pytest.raises(Blocked):
            post(make_door(lambda host, port: ["::1"], tls), f"https://{NAME}:{target.port}/")
    assert len(proxy.received) == 2


def test_the_environment_s_proxies_are_not_asked(target: Target, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    with Target() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert post(door, target.url).status == 200
        assert proxy.received == []


# --- Bad servers ---


@pytest.mark.parametrize("location", ["http://169.254.169.254/", "http://127.0.0.1:1/", "https://hooks.example.com/"])
def test_no_redirect_is_followed(target: Target, door: Door, location: str) -> None:
    target.behaviour = says(302, Location=location)
    answer = post(door, target.url)
    assert (answer.status, answer.header("location")) == (302, location)
    assert len(target.received) == 1


def hang(target: Target) -> Any:
    return lambda wire, request: target.over.wait(30)


def drip(head: bytes, target: Target) -> Any:
    def behave(wire: Any, request: Received) -> None:
        wire.sendall(head)
        while not target.over.wait(0.02):
            wire.sendall(b"x")

    return behave


def test_a_server_that_hangs_is_left_in_time(target: Target, door: Door) -> None:
    target.behaviour = hang(target)
    started = time.monotonic()
    with pytest.raises(Unanswered) as failed:
        post(door, target.url, timeout=0.3)
    assert failed.value.code == "timeout"
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 "])
def test_a_server_that_drips_its_headers_is_left_in_time(target: Target, door: Door, head: bytes) -> None:
    target.behaviour = drip(head, target)
    started = time.monotonic()
    with pytest.raises(Unanswered):
        post(door, target.url, timeout=0.3)
    assert time.monotonic() - started < 2


def test_a_body_that_drips_is_cut_in_time_and_the_status_stands(target: Target, door: Door) -> None:
    target.behaviour = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", target)
    started = time.monotonic()
    answer = post(door, target.url, timeout=0.3)
    assert (answer.status, answer.is_whole) == (200, False)
    assert time.monotonic() - started < 2


def test_a_gigabyte_is_read_no_further_than_asked(target: Target, door: Door) -> None:
    sent = []

    def flood(wire: Any, request: Received) -> None:
        wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        for _ in range(1024):
            wire.sendall(b"x" * 2**20)
            sent.append(1)

    target.behaviour = flood
    answer = post(door, target.url, most=1000)
    assert (answer.status, answer.body, answer.is_whole) == (200, b"x" * 1000, False)
    assert len(sent) < 64  # megabytes that the kernels took meanwhile


def test_headers_without_end_are_no_answer(target: Target, door: Door) -> None:
    target.behaviour = lambda wire, request: wire.sendall(b"HTTP/1.1 200 OK\r\n" + b"X-Long: y\r\n" * 100_000)
    with pytest.raises(Unanswered) as failed:
        post(door, target.url)
    assert failed.value.code == "protocol"


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200"])
def test_a_server_that_hangs_up_or_speaks_no_http_gives_no_answer(target: Target, door: Door, answer: bytes) -> None:
    def behave(wire: Any, request: Received) -> None:
        wire.sendall(answer)
        wire.shutdown(2)

    target.behaviour = behave
    with pytest.raises(Unanswered) as failed:
        post(door, target.url)
    assert failed.value.code == "protocol"


def test_a_body_that_breaks_off_is_not_whole(target: Target, door: Door) -> None:
    def behave(wire: Any, request: Received) -> None:
        wire.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nabc")
        wire.shutdown(2)

    target.behaviour = behave
    answer = post(door, target.url)
    assert (answer.status, answer.body, answer.is_whole) == (500, b"abc", False)


def test_a_server_that_takes_nothing_is_left_in_time(door: Door) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts, and never reads
        started = time.monotonic()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(Unanswered) as failed:
            post(door, url, body=b"x" * 2**24, timeout=0.5)
        assert failed.value.code == "timeout"
        assert time.monotonic() - started < 3


def test_nobody_listening_is_said_so(door: Door) -> None:
    with Target() as gone:
        url = gone.url
    with pytest.raises(Unanswered) as failed:
        post(door, url)
    assert failed.value.code == "connect"


def test_a_slow_name_server_is_left_in_time(make_door: MakeDoor) -> None:
    with Target() as clock:
        door = make_door(lambda host, port: [str(clock.over.wait(5))])
        started = time.monotonic()
        with pytest.raises(Unanswered) as failed:
            post(door, f"https://{NAME}/", timeout=0.3)
        assert failed.value.code == "timeout"
        assert time.monotonic() - started < 2


def test_a_connection_serves_again(target: Target, door: Door) -> None:
    for _ in range(5):
        post(door, target.url)
    assert (len(target.received), target.connections) == (5, 1)


# --- No calls inside transactions ---


def test_nothing_is_sent_while_a_transaction_is_open(target: Target, door: Door, db: None) -> None:
    with pytest.raises(OpenTransaction), transaction.atomic():
        post(door, target.url)
    assert target.received == []
    assert post(door, target.url).status == 200


@pytest.mark.django_db(transaction=True)
def test_nothing_is_sent_in_an_open_transaction_outside_of_tests_either(target: Target, door: Door) -> None:
    with pytest.raises(OpenTransaction), transaction.atomic():
        post(door, target.url)
    assert target.received == []
