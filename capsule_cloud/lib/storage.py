"""Owns object storage: the installation's own store, and buckets and addresses that customers own.

A customer's store is reached through `lib.passage` alone, so that its address, its redirects and its token server pass
the checks of `lib.http`. Files are sent in parts with constant memory, and nothing is sent while a transaction is open.
"""

import contextlib
import errno
import functools
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import obstore
import orjson
from django.conf import settings
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store, from_url

from capsule_cloud.lib import http
from capsule_cloud.lib.passage import Passage, Proxy

PART = 8 * 2**20  # bytes that are sent at once, and two of them at a time
AT_ONCE = 2
REQUEST_TIMEOUT = "60s"
RETRIES: Any = {"max_retries": 2, "retry_timeout": timedelta(minutes=3)}
READ_AT_ONCE = 4 * 2**20
SLOWEST = 100_000  # bytes a second, for an upload that has one deadline
TRUSTED = b""  # certificates (PEM) that are trusted beside the system's own, for tests
GOOGLE_TOKENS = "https://oauth2.googleapis.com/token"  # a key file may not name another
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*(?:/[A-Za-z0-9][A-Za-z0-9._=-]*)*")
_PREFIX = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._=-]*(?:/[A-Za-z0-9][A-Za-z0-9._=-]*)*)?")
_AMBIENT = ("AWS_", "AZURE_", "GOOGLE_", "MSI_", "IDENTITY_")
_environment = threading.Lock()
Opened = Callable[[], AbstractContextManager[tuple[ObjectStore, Passage | None]]]


class StorageError(Exception):
    """A store did not do as asked. `code` is for programs, `str()` for people; `is_final`: a retry alone does not help.

    Codes: blocked, denied, missing, refused, unanswered, incomplete, full.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.is_final = code in {"blocked", "denied", "missing", "refused"}


class Unfit(Exception):
    """A store cannot be described like this: `field` says where, `str()` what to change."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


class Destination(Protocol):
    """Where files can be put. A key is a path of plain names; what was under it is replaced, wholly or not at all."""

    def put(self, key: str, path: Path) -> None:
        """Store the file `path` under `key`. Raises StorageError."""
        ...


class Store(Destination, Protocol):
    """Where files can be read again, too."""

    def size(self, key: str) -> int | None:
        """How many bytes there are under a key; None without any. Raises StorageError."""
        ...

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` up to, without, `end`, in pieces. Raises StorageError."""
        ...

    def delete(self, key: str) -> None:
        """Forget what is under a key, if anything is. Raises StorageError."""
        ...


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key) or len(key) > 1000:
        raise ValueError(f"{key!r} is no key of an object.")
    return key


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of this machine, or one that several machines have mounted. It is made when something is put into it."""

    root: Path

    def put(self, key: str, path: Path) -> None:
        """As `Destination`: linked where that is possible, else copied; the name appears when the bytes are on disk."""
        to = self.root / _checked(key)
        part = to.with_name(f".{uuid4().hex}.part")
        try:
            to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                os.link(path, part)
            except OSError:
                shutil.copyfile(path, part)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(to)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise _of_disk(error) from error

    def size(self, key: str) -> int | None:
        """As `Store`."""
        try:
            return (self.root / _checked(key)).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """As `Store`."""
        try:
            with (self.root / _checked(key)).open("rb") as file:
                file.seek(start)
                while start < end and (piece := file.read(min(READ_AT_ONCE, end - start))):
                    start += len(piece)
                    yield piece
        except FileNotFoundError:
            raise _missing() from None
        if start < end:
            raise StorageError("incomplete", "The stored file is shorter than it was.")

    def delete(self, key: str) -> None:
        """As `Store`."""
        (self.root / _checked(key)).unlink(missing_ok=True)


def _of_disk(error: OSError) -> StorageError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageError("full", "The disk that files are kept on is full.")
    return StorageError("unanswered", f"The folder that files are kept in cannot be written to: {error.strerror}.")


def _missing() -> StorageError:
    return StorageError("missing", "There is no such bucket, container or file.")


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket or container. `opened` gives a client for one operation, and says why the way there was refused."""

    opened: Opened
    prefix: str = ""

    def put(self, key: str, path: Path) -> None:
        """As `Destination`; the size of what arrived is compared."""
        with self._asking() as store:
            obstore.put(store, self._at(key), path, chunk_size=PART, max_concurrency=AT_ONCE)
            if obstore.head(store, self._at(key))["size"] != path.stat().st_size:
                raise StorageError("incomplete", "What arrived is not as long as what was sent.")

    def size(self, key: str) -> int | None:
        """As `Store`."""
        try:
            with self._asking() as store:
                return obstore.head(store, self._at(key))["size"]
        except StorageError as error:
            if error.code == "missing":
                return None
            raise

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """As `Store`."""
        with self._asking() as store:
            for at in range(start, end, READ_AT_ONCE):
                piece = bytes(obstore.get_range(store, self._at(key), start=at, end=min(at + READ_AT_ONCE, end)))
                if len(piece) != min(at + READ_AT_ONCE, end) - at:
                    raise StorageError("incomplete", "The stored file is shorter than it was.")
                yield piece

    def delete(self, key: str) -> None:
        """As `Store`."""
        try:
            with self._asking() as store:
                obstore.delete(store, self._at(key))
        except StorageError as error:
            if error.code != "missing":
                raise

    def _at(self, key: str) -> str:
        return f"{self.prefix}/{_checked(key)}" if self.prefix else _checked(key)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[ObjectStore]:
        http.refuse_open_transaction()
        with self.opened() as (store, passage):
            try:
                yield store
            except (exceptions.BaseError, OSError) as error:
                if passage is not None and passage.refused is not None:
                    raise StorageError(passage.refused.code, str(passage.refused)) from None
                raise _of_library(error) from None


def _of_library(error: Exception) -> StorageError:
    """What an error of obstore's means. Its own text holds addresses and answers of others, and is shown to nobody."""
    if isinstance(error, exceptions.NotFoundError | FileNotFoundError):
        return _missing()
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return StorageError("denied", "The store does not accept the credentials, or they may not write there.")
    text = str(error)
    status = re.search(r"status code: (\d{3})|non-2xx status code: (\d{3})", text)
    code = int(status[1] or status[2]) if status else 0
    if code in {400, 401, 403, 407}:
        return StorageError("denied", f"The store answered {code}: check the credentials, the region and the name.")
    if 300 <= code < 400:
        return StorageError("refused", f"The store answered {code}: give the endpoint of the bucket's own region.")
    if code:
        return StorageError("unanswered" if code >= 500 or code == 429 else "refused", f"The store answered {code}.")
    return StorageError("unanswered", "The store gave no answer that could be used, or ended the connection.")


@dataclass(frozen=True, slots=True)
class Address:
    """An HTTPS server that takes files by PUT, each under the address and its key."""

    url: str
    authorization: str = ""

    def put(self, key: str, path: Path) -> None:
        """As `Destination`; any 2xx is success."""
        size = path.stat().st_size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        if self.authorization:
            headers["Authorization"] = self.authorization
        base, mark, query = self.url.partition("?")
        url = f"{base.rstrip('/')}/{_checked(key)}{mark}{query}"
        try:
            with path.open("rb") as file:
                pieces = iter(lambda: file.read(READ_AT_ONCE), b"")
                answer = _door().send("PUT", url, headers=headers, body=pieces, timeout=60 + size / SLOWEST, most=1024)
        except http.HttpError as error:
            raise StorageError("blocked" if error.code == "blocked" else "unanswered", str(error)) from None
        if 200 <= answer.status < 300:
            return
        if answer.status in {401, 403}:
            raise StorageError("denied", f"The server answered {answer.status}: check the credentials.")
        if 300 <= answer.status < 400:
            raise StorageError("refused", f"Answered {answer.status}: redirects are not followed.")
        is_passing = answer.status >= 500 or answer.status in {408, 429}
        raise StorageError("unanswered" if is_passing else "refused", f"The server answered {answer.status}.")


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of place that customers have: what is asked for, and what of it is secret."""

    label: str
    options: tuple[str, ...]
    secrets: tuple[str, ...]


KINDS = {
    "s3": Kind("S3 or compatible", ("bucket", "region", "endpoint", "prefix"), ("access_key_id", "secret_access_key")),
    "gcs": Kind("Google Cloud Storage", ("bucket", "prefix"), ("service_account",)),
    "azure": Kind("Azure Blob Storage", ("account", "container", "prefix"), ("account_key",)),
    "https": Kind("HTTPS (PUT)", ("url",), ("authorization",)),
}
_FORMS = {
    "bucket": (
        r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]",
        "Write the bucket's name alone.",
    ),
    "region": (r"[a-z0-9-]{1,32}", "Write the region as in eu-central-1."),
    "account": (r"[a-z0-9]{3,24}", "Write the storage account's name: 3 to 24 lower-case letters or digits."),
    "container": (
        r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
        "Write the container's name alone.",
    ),
    "access_key_id": (r"[!-~]{1,200}", "Write the access key's id."),
    "secret_access_key": (r"[!-~]{1,500}", "Write the access key's secret."),
    "account_key": (r"[A-Za-z0-9+/]{20,200}={0,2}", "Paste the account key as Azure shows it (base64)."),
    "authorization": (r"[ -~]{0,2000}", "Write the header's value in plain characters: Bearer …"),
}


def check(kind: str, options: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    """Raise Unfit when a customer's store is described in a way that cannot be. Nothing is looked up or sent."""
    if kind not in KINDS:
        raise Unfit("kind", f"Choose one of {', '.join(KINDS)}.")
    for name in (*KINDS[kind].options, *KINDS[kind].secrets):
        value = {**options, **secrets}.get(name, "")
        if name in _FORMS and not re.fullmatch(*_FORMS[name][:1], value):
            raise Unfit(name, _FORMS[name][1])
    if not _PREFIX.fullmatch(options.get("prefix", "")) or len(options.get("prefix", "")) > 200:
        raise Unfit("prefix", "Write the folder as in logs/capsule, without a slash at either end.")
    for name in ("endpoint", "url"):
        if name in KINDS[kind].options and (name == "url" or options.get(name)):
            try:
                place = http.place(options.get(name, ""))
            except http.Blocked as blocked:
                raise Unfit(name, str(blocked)) from None
            if name == "endpoint" and place.target != b"/":
                raise Unfit(name, "Write the endpoint without a path: the bucket has a field of its own.")
    if kind == "gcs":
        _service_account(secrets.get("service_account", ""))


def customers(kind: str, options: Mapping[str, str], secrets: Mapping[str, str]) -> "Bucket | Address":
    """A customer's store. Raises Unfit."""
    check(kind, options, secrets)
    if kind == "https":
        return Address(options["url"], secrets.get("authorization", ""))
    return Bucket(lambda: _guarded(kind, options, secrets), options.get("prefix", ""))


@contextlib.contextmanager
def _guarded(
    kind: str, options: Mapping[str, str], secrets: Mapping[str, str]
) -> Iterator[tuple[ObjectStore, Passage | None]]:
    with _proxy().passage() as passage:
        client: Any = {
            "proxy_url": passage.url,
            "timeout": REQUEST_TIMEOUT,
            "connect_timeout": "15s",
            "http1_only": True,
            "user_agent": "Capsule-Memory-Cloud-Exports/1",
        }
        endpoint = options.get("endpoint", "")
        if endpoint.startswith("http://"):  # this machine, where development allows it
            client["allow_http"] = True
        if TRUSTED:
            client["root_certificate"] = TRUSTED
        with _bare_environment():
            made = _client(kind, options, secrets, client)
        yield made, passage


def _client(kind: str, options: Mapping[str, str], secrets: Mapping[str, str], client: Any) -> ObjectStore:
    shared: Any = {"client_options": client, "retry_config": RETRIES}
    if kind == "s3":
        endpoint = options.get("endpoint") or f"https://s3.{options['region']}.amazonaws.com"
        keys: Any = {name: secrets[name] for name in KINDS["s3"].secrets}
        return S3Store(options["bucket"], region=options["region"], endpoint=endpoint, **keys, **shared)
    if kind == "gcs":
        return GCSStore(options["bucket"], service_account_key=_service_account(secrets["service_account"]), **shared)
    return AzureStore(
        options["container"], account_name=options["account"], account_key=secrets["account_key"], **shared
    )


def _service_account(text: str) -> str:
    """A Google key file with nothing in it but what signing needs. Raises Unfit."""
    sentence = "Paste the whole JSON key file of a service account."
    try:
        key = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Unfit("service_account", sentence) from None
    names = ("client_email", "private_key", "private_key_id")
    if not isinstance(key, dict) or not all(isinstance(key.get(name), str) and key[name] for name in names):
        raise Unfit("service_account", sentence)
    plain = {"type": "service_account", "token_uri": GOOGLE_TOKENS, **{name: key[name] for name in names}}
    return orjson.dumps(plain).decode()


@contextlib.contextmanager
def _bare_environment() -> Iterator[None]:
    """Hide this machine's own credentials and endpoints: the library would fill the gaps of a customer's with them."""
    with _environment:
        hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.upper().startswith(_AMBIENT)}
        try:
            yield
        finally:
            os.environ.update(hidden)


@functools.cache
def own() -> Store:
    """The installation's own store: the bucket of EXPORTS_BUCKET, by this machine's credentials, or EXPORTS_DIR."""
    if not settings.EXPORTS_BUCKET:
        return Folder(Path(settings.EXPORTS_DIR) / "kept")
    with _environment:
        client = from_url(settings.EXPORTS_BUCKET, retry_config=RETRIES)
    return Bucket(lambda: contextlib.nullcontext((client, None)))


@functools.cache
def _door() -> http.Door:
    return http.Door()


@functools.cache
def _proxy() -> Proxy:
    return Proxy(_door())
