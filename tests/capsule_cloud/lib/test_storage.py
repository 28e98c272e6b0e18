"""Every store keeps the same contract; a customer's is reached only where the door to customers' addresses leads."""

import base64
import contextlib
import errno
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import LocalStore, S3Store

from capsule_cloud.lib import http, storage
from capsule_cloud.lib.passage import Proxy
from capsule_cloud.lib.storage import Bucket, Folder, StorageError, Unfit
from tests.capsule_cloud.lib.certificates import certificate
from tests.targets import Target, says

KEYS = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "secret"}
AZURE = {"account_key": "a2V5a2V5a2V5a2V5a2V5a2V5"}
SOME = os.urandom(storage.PART * 2 + 12_345)  # three parts


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The endpoint of an S3 on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ends_at = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        assert time.monotonic() < ends_at, "the S3 does not start"
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(30)


@pytest.fixture
def bucket(s3: str) -> dict[str, str]:
    """A fresh bucket of it, as a customer describes it."""
    name = f"audit-{uuid.uuid4().hex}"
    answer = storage._door().send("PUT", f"{s3}/{name}", headers={"Content-Length": "0"}, timeout=30, most=100)
    assert answer.status == 200
    return {"bucket": name, "region": "us-east-1", "endpoint": s3, "prefix": "logs/capsule"}


@pytest.fixture(params=["folder", "bucket", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> storage.Store:
    """Each store that can be read again."""
    if request.param == "folder":
        return Folder(tmp_path / "kept")
    if request.param == "bucket":
        local = LocalStore(tmp_path / "kept", mkdir=True)
        return Bucket(lambda: contextlib.nullcontext((local, None)))
    made = storage.customers("s3", request.getfixturevalue("bucket"), KEYS)
    assert isinstance(made, Bucket)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of several parts."""
    path = tmp_path / "file"
    path.write_bytes(SOME)
    return path


def everything(store: storage.Store, key: str) -> bytes:
    size = store.size(key)
    assert size is not None
    return b"".join(store.read(key, 0, size))


def test_what_was_put_can_be_read_from_anywhere_to_anywhere(store: storage.Store, file: Path) -> None:
    store.put("exports/a.jsonl", file)
    assert store.size("exports/a.jsonl") == len(SOME)
    assert everything(store, "exports/a.jsonl") == SOME
    assert b"".join(store.read("exports/a.jsonl", 7, 7)) == b""
    assert b"".join(store.read("exports/a.jsonl", 5_000_000, 10_000_001)) == SOME[5_000_000:10_000_001]


def test_the_later_file_takes_the_place_of_the_earlier_one(store: storage.Store, file: Path) -> None:
    store.put("a", file)
    file = file.with_name("other")
    file.write_bytes(b"other")
    store.put("a", file)
    assert everything(store, "a") == b"other"


def test_an_empty_file_is_a_file(store: storage.Store, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    store.put("empty", tmp_path / "empty")
    assert store.size("empty") == 0
    assert everything(store, "empty") == b""


def test_what_is_deleted_is_gone_and_deleting_twice_is_no_error(store: storage.Store, file: Path) -> None:
    store.put("a/b", file)
    store.delete("a/b")
    store.delete("a/b")
    assert store.size("a/b") is None
    with pytest.raises(StorageError) as failed:
        list(store.read("a/b", 0, 5))
    assert failed.value.code == "missing"


def test_a_file_that_is_shorter_than_it_was_is_not_read_as_if_it_were_whole(store: storage.Store, file: Path) -> None:
    store.put("a", file)
    with pytest.raises(StorageError) as failed:
        list(store.read("a", len(SOME) - 5, len(SOME) + 5))
    assert failed.value.code == "incomplete"


@given(st.one_of(st.text(max_size=20), st.sampled_from(["../a", "a/../b", "/a", "a//b", "a/", "", ".a", "a/.b"])))
def test_a_key_never_leaves_its_folder(key: str) -> None:
    with contextlib.suppress(ValueError):
        checked = storage._checked(key)
        assert Path("/kept", checked).resolve().is_relative_to("/kept")
        assert not any(part.startswith(".") for part in checked.split("/"))


def test_a_full_disk_says_so_and_leaves_nothing_behind(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(StorageError) as failed:
        Folder(tmp_path / "kept").put("a/b", file)
    assert failed.value.code == "full"
    assert not failed.value.is_final
    assert [path for path in (tmp_path / "kept").rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_written_to_says_so(tmp_path: Path, file: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(StorageError) as failed:
        Folder(tmp_path / "kept").put("a", file)
    assert failed.value.code == "unanswered"
    assert Folder(tmp_path / "kept").size("a") is None


def test_nothing_is_sent_while_a_transaction_is_open(
    bucket: dict[str, str], file: Path, transactional_db: None
) -> None:
    with transaction.atomic(), pytest.raises(http.OpenTransaction):
        storage.customers("s3", bucket, KEYS).put("a", file)


def test_a_bucket_that_is_not_there_is_missing(bucket: dict[str, str], file: Path) -> None:
    with pytest.raises(StorageError) as failed:
        storage.customers("s3", {**bucket, "bucket": "nobody-has-this"}, KEYS).put("a", file)
    assert failed.value.code == "missing"
    assert failed.value.is_final


@pytest.fixture
def machine_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine may do itself."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-machine's-own")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "THEMACHINE")
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.mark.usefixtures("machine_credentials")
def test_the_machines_own_credentials_never_go_to_a_customers_store(file: Path) -> None:
    with Target(says(200)) as target:
        options = {"bucket": "logs", "region": "eu-west-1", "endpoint": f"http://127.0.0.1:{target.port}"}
        with pytest.raises(StorageError):  # a target that stores nothing
            storage.customers("s3", options, KEYS).put("a", file)
    assert target.received
    for got in target.received:
        assert "the-machine's-own" not in str(got.headers)
        assert "THEMACHINE" not in str(got.headers)
        assert "proxy-authorization" not in got.headers
    assert os.environ["AWS_SESSION_TOKEN"] == "the-machine's-own"


def test_a_store_that_keeps_less_than_it_was_sent_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"12345")
    with Target(says(200, ETag='"x"')) as target:  # HEAD answers that there are no bytes
        options = {"bucket": "logs", "region": "eu-west-1", "endpoint": f"http://127.0.0.1:{target.port}"}
        target.behaviour = lambda wire, got: wire.sendall(
            b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: "x"\r\nLast-Modified: Sun, 29 Nov 2026 10:00:00 GMT\r\n\r\n'
        )
        with pytest.raises(StorageError) as failed:
            storage.customers("s3", options, KEYS).put("a", tmp_path / "small")
    assert failed.value.code == "incomplete"


@pytest.mark.parametrize(
    ("status", "code"), [(403, "denied"), (400, "denied"), (404, "missing"), (409, "refused"), (500, "unanswered")]
)
def test_what_a_store_answers_becomes_a_sentence_without_its_words(status: int, code: str, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"12345")
    with Target(says(status, b"<Error>inner secrets</Error>")) as target:
        options = {"bucket": "logs", "region": "eu-west-1", "endpoint": f"http://127.0.0.1:{target.port}"}
        with pytest.raises(StorageError) as failed:
            storage.customers("s3", options, KEYS).put("a", tmp_path / "small")
    assert failed.value.code == code
    assert "inner" not in str(failed.value)


def test_a_store_that_breaks_off_or_redirects_inwards_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"12345")
    with Target() as target, Target() as inner:
        options = {"bucket": "logs", "region": "eu-west-1", "endpoint": f"http://127.0.0.1:{target.port}"}

        def break_off(wire: socket.socket, got: object) -> None:
            wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
            wire.shutdown(socket.SHUT_RDWR)

        target.behaviour = break_off
        with pytest.raises(StorageError):
            storage.customers("s3", options, KEYS).put("a", tmp_path / "small")
        target.behaviour = says(307, Location="http://169.254.169.254/latest/meta-data/")
        with pytest.raises(StorageError):
            storage.customers("s3", options, KEYS).put("a", tmp_path / "small")
    assert inner.received == []


def test_a_store_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "REQUEST_TIMEOUT", "300ms")
    monkeypatch.setattr(storage, "RETRIES", {"max_retries": 0})
    (tmp_path / "small").write_bytes(b"12345")
    with Target() as target:

        def hang(wire: socket.socket, got: object) -> None:
            target.over.wait(30)

        target.behaviour = hang
        options = {"bucket": "logs", "region": "eu-west-1", "endpoint": f"http://127.0.0.1:{target.port}"}
        with pytest.raises(StorageError) as failed:
            storage.customers("s3", options, KEYS).put("a", tmp_path / "small")
    assert failed.value.code == "unanswered"


# --- Where it leads ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def google_key() -> str:
    """A service account's key file, with a token server that must not be asked."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return (
        '{"type":"service_account","client_email":"a@b.iam.gserviceaccount.com","private_key_id":"1",'
        f'"private_key":{as_json(pem)},"token_uri":"http://169.254.169.254/token",'
        '"gcs_base_url":"http://169.254.169.254"}'
    )


def as_json(text: str) -> str:
    return '"' + text.replace("\n", "\\n") + '"'


Led = Callable[[Callable[[str, int], list[str]]], list[str]]


@pytest.fixture
def led(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Led:
    """Says which names the guard is asked for, and answers as told; nothing of this machine counts as public."""
    settings.EGRESS_LOOPBACK = False

    def lead(answer: Callable[[str, int], list[str]]) -> list[str]:
        asked: list[str] = []

        def resolve(host: str, port: int) -> list[str]:
            asked.append(host)
            return answer(host, port)

        door = http.Door(resolve)
        proxy = Proxy(door)
        monkeypatch.setattr(storage, "_door", lambda: door)
        monkeypatch.setattr(storage, "_proxy", lambda: proxy)
        monkeypatch.setattr(storage, "RETRIES", {"max_retries": 0})
        return asked

    return lead


@pytest.fixture
def described(google_key: str) -> dict[str, tuple[str, dict[str, str], dict[str, str], str]]:
    """Each kind of store: kind, options, secrets, and the host that it must lead to."""
    return {
        "s3": ("s3", {"bucket": "logs", "region": "eu-west-1"}, KEYS, "s3.eu-west-1.amazonaws.com"),
        "minio": (
            "s3",
            {"bucket": "logs", "region": "x", "endpoint": "https://minio.example.com"},
            KEYS,
            "minio.example.com",
        ),
        "gcs": ("gcs", {"bucket": "logs"}, {"service_account": google_key}, "storage.googleapis.com"),
        "azure": ("azure", {"account": "corp", "container": "logs"}, AZURE, "corp.blob.core.windows.net"),
        "https": ("https", {"url": "https://logs.example.com/in"}, {}, "logs.example.com"),
    }


PRIVATE = ["127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.169.254", "100.64.0.1", "::1", "fd00::1", "64:ff9b::a00:1"]


@pytest.mark.parametrize("name", ["s3", "minio", "gcs", "azure", "https"])
@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.usefixtures("machine_credentials")
def test_no_kind_of_store_is_asked_at_a_private_address(
    name: str, address: str, led: Led, described: Any, tmp_path: Path
) -> None:
    (tmp_path / "small").write_bytes(b"12345")
    kind, options, secrets, host = described[name]
    asked = led(lambda host, port: ["93.184.216.34", address])
    with pytest.raises(StorageError) as failed:
        storage.customers(kind, options, secrets).put("a", tmp_path / "small")
    assert failed.value.code == "blocked"
    assert str(failed.value) == f"{host} does not lead to an address on the public internet."
    assert asked == [host]


def test_a_name_that_changes_its_answer_and_a_redirect_lead_nowhere_else(
    led: Led, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A certified server on this machine counts as public; it sends on to another name, which is private."""
    tls, pem = certificate(tmp_path, "minio.example.com")
    (tmp_path / "small").write_bytes(b"12345")
    monkeypatch.setattr(storage, "TRUSTED", pem)
    monkeypatch.setattr(http, "CLOSED_4", http.CLOSED_4[:3] + http.CLOSED_4[4:])  # loopback is open
    with Target(tls=tls) as target, Target() as inner:
        settings.EGRESS_PORTS = {target.port, 443}
        answers = iter([["127.0.0.1"], ["10.0.0.1"]])
        asked = led(lambda host, port: next(answers))
        endpoint = f"https://minio.example.com:{target.port}"
        made = storage.customers("s3", {"bucket": "logs", "region": "x", "endpoint": endpoint}, KEYS)
        target.behaviour = says(307, Location="https://elsewhere.example.com/x")
        with pytest.raises(StorageError):
            made.put("a", tmp_path / "small")
        assert len(target.received) == 1
        assert target.received[0].headers["host"] == f"minio.example.com:{target.port}"
        with pytest.raises(StorageError) as failed:
            made.put("a", tmp_path / "small")
    assert failed.value.code in {"blocked", "unanswered"}
    assert inner.received == []
    assert len(target.received) == 1
    assert asked[0] == "minio.example.com"


def test_nobody_goes_through_the_proxy_without_the_word_of_an_open_passage(led: Led) -> None:
    asked = led(lambda host, port: ["93.184.216.34"])
    proxy = storage._proxy()
    with proxy.passage() as passage:
        ended = passage.url
    address = ended.rpartition("@")[2]
    store = S3Store(
        "logs",
        region="x",
        endpoint="https://minio.example.com",
        access_key_id="a",
        secret_access_key="b",
        client_options={"proxy_url": ended, "timeout": "5s"},
        retry_config={"max_retries": 0},
    )
    with pytest.raises(obstore.exceptions.BaseError):
        obstore.put(store, "a", b"1", use_multipart=False)
    host, _, port = address.partition(":")
    for words in (b"GET / HTTP/1.1\r\n\r\n", b"CONNECT a.example.com:443 HTTP/1.1\r\nProxy-Authorization: %%\r\n\r\n"):
        with socket.create_connection((host, int(port)), 10) as wire:
            wire.sendall(words)
            assert wire.recv(100).startswith(b"HTTP/1.1 407 ")
    assert asked == []


def test_nothing_goes_out_in_the_clear(led: Led) -> None:
    led(lambda host, port: ["93.184.216.34"])
    with storage._proxy().passage() as passage:
        word = passage.url.removeprefix("http://").partition("@")[0]
        host, _, port = passage.url.rpartition("@")[2].partition(":")
        with socket.create_connection((host, int(port)), 10) as wire:
            signed = base64.b64encode(word.encode()).decode()
            wire.sendall(f"GET http://a.example.com/ HTTP/1.1\r\nProxy-Authorization: Basic {signed}\r\n\r\n".encode())
            assert wire.recv(100).startswith(b"HTTP/1.1 403 ")
        assert passage.refused is not None


# --- How it is described ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "changed", "field"),
    [
        ("s3", {"bucket": "Logs/../x"}, "bucket"),
        ("s3", {"region": "eu.evil.com/"}, "region"),
        ("s3", {"endpoint": "https://10.0.0.1/"}, "endpoint"),
        ("s3", {"endpoint": "http://minio.example.com/"}, "endpoint"),
        ("s3", {"endpoint": "https://minio.example.com/bucket"}, "endpoint"),
        ("s3", {"endpoint": "https://user:word@minio.example.com"}, "endpoint"),
        ("s3", {"prefix": "../up"}, "prefix"),
        ("s3", {"prefix": "a//b"}, "prefix"),
        ("s3", {"access_key_id": "a\r\nHost: x"}, "access_key_id"),
        ("s3", {"secret_access_key": ""}, "secret_access_key"),
        ("azure", {"account": "corp.evil.com#"}, "account"),
        ("azure", {"container": "A"}, "container"),
        ("azure", {"account_key": "no base64!"}, "account_key"),
        ("gcs", {"service_account": "{}"}, "service_account"),
        ("gcs", {"service_account": "no json"}, "service_account"),
        ("https", {"url": "https://localhost:22/"}, "url"),
        ("https", {"url": ""}, "url"),
        ("https", {"authorization": "a\nb"}, "authorization"),
        ("ftp", {}, "kind"),
    ],
)
def test_a_store_that_cannot_be_is_refused_with_its_field(
    kind: str, changed: dict[str, str], field: str, described: Any, settings: Any
) -> None:
    settings.EGRESS_LOOPBACK = False
    _, options, secrets, _ = described.get(kind, ("", {}, {}, ""))
    told = storage.KINDS[kind].secrets if kind in storage.KINDS else ()
    with pytest.raises(Unfit) as refused:
        storage.check(
            kind,
            {**options, **{name: value for name, value in changed.items() if name not in told}},
            {**secrets, **{name: value for name, value in changed.items() if name in told}},
        )
    assert refused.value.field == field


def test_every_kind_can_be_described(described: Any) -> None:
    for kind, options, secrets, _ in described.values():
        storage.check(kind, options, secrets)


# --- HTTPS by PUT -----------------------------------------------------------------------------------------------------


def test_a_file_is_put_in_pieces_under_its_key(file: Path) -> None:
    with Target(says(201)) as target:
        url = f"{target.url}/?sig=abc"
        storage.customers("https", {"url": url}, {"authorization": "Bearer word"}).put("2026/a.jsonl", file)
    [got] = target.received
    assert (got.method, got.path, got.body) == ("PUT", "/hook/2026/a.jsonl?sig=abc", SOME)
    assert got.headers["authorization"] == "Bearer word"


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "unanswered"), (429, "unanswered"), (403, "denied"), (302, "refused"), (404, "refused")],
)
def test_anything_but_success_of_a_put_is_a_failure(status: int, code: str, file: Path) -> None:
    with Target(says(status, Location="http://10.0.0.1/")) as target, pytest.raises(StorageError) as failed:
        storage.customers("https", {"url": target.url}, {}).put("a", file)
    assert failed.value.code == code
    assert len(target.received) == 1


# --- The installation's own -------------------------------------------------------------------------------------------


def test_the_own_store_is_the_folder_or_the_bucket_of_the_settings(
    settings: Any, tmp_path: Path, file: Path, bucket: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.own.cache_clear()
    settings.EXPORTS_DIR, settings.EXPORTS_BUCKET = str(tmp_path / "exports"), ""
    storage.own().put("a", file)
    assert (tmp_path / "exports/kept/a").read_bytes() == SOME
    storage.own.cache_clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket["endpoint"])
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "B")
    settings.EXPORTS_BUCKET = f"s3://{bucket['bucket']}/kept"
    storage.own().put("b", file)
    assert everything(storage.own(), "b") == SOME
    assert everything(storage.customers("s3", {**bucket, "prefix": "kept"}, KEYS), "b") == SOME  # type: ignore[arg-type]
    storage.own.cache_clear()
