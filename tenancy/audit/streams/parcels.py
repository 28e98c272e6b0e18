"""Makes of a batch what a target takes, while its organization is in scope; sending it asks the database nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid5

import orjson
from django.conf import settings
from django.utils import timezone

from capsule_cloud.lib import crypto, http
from tenancy.audit.streams import files, kinds, syslog
from tenancy.audit.streams.batches import Batch
from tenancy.audit.streams.models import Kind, Stream
from tenancy.audit.streams.outcomes import Outcome, failed, judge
from tenancy.webhooks import delivery, signing

TIMEOUT = 15.0  # seconds for one request, from its name's look-up to its answer's last byte
MOST_OF_AN_ANSWER = 16_384
AGENT = "Capsule-Memory-Cloud-Streams/1"
BATCH_TYPE, TEST_TYPE = "audit.batch", "audit.test"
TEST_SENTENCE = "If you can read this, your stream works."
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What goes out, ready to be sent from any thread."""

    stream_id: UUID
    organization_id: UUID
    first: int
    count: int
    bytes: int
    send: Callable[[], Outcome]


def parcel(stream: Stream, batch: Batch) -> Parcel:
    """A batch for a stream of the organization in scope. Raises Unreadable where its secrets cannot be opened."""
    if stream.is_store:
        made = files.of_batch(stream, batch, secrets_of(stream))
        return _sealed(stream, batch.first, batch.count, made.size, made.put)
    if stream.kind == Kind.SYSLOG:
        messages = [
            syslog.message(syslog.Header(line.event.occurred_at, line.event.action, line.seq), line.envelope)
            for line in batch.lines
        ]
        messages.append(syslog.message(syslog.Header(timezone.now(), "checkpoint"), batch.proof))
        return _syslog(stream, batch.first, batch.count, messages)
    envelopes = [line.envelope for line in batch.lines]
    message_id = str(uuid5(stream.pk, f"{batch.first}:{batch.end}"))  # the same at every attempt
    return _post(stream, batch.first, batch.count, message_id, envelopes, batch.proof)


def test_parcel(stream: Stream) -> Parcel:
    """A sentence that is no event, to see whether it arrives."""
    if stream.is_store:
        made = files.of_test(stream, secrets_of(stream))
        return _sealed(stream, 0, 0, made.size, made.put)
    now = timezone.now()
    word = {"type": TEST_TYPE, "recorded_at": now.isoformat(), "sentence": TEST_SENTENCE}
    if stream.kind == Kind.SYSLOG:
        return _syslog(stream, 0, 0, [syslog.message(syslog.Header(now, "test"), word)])
    return _post(stream, 0, 0, str(uuid5(stream.pk, f"test:{now.timestamp()}")), [word], None)


def secrets_of(stream: Stream) -> dict[str, str]:
    """Its secrets, for whoever sends something now. Raises Unreadable."""
    found: dict[str, str] = orjson.loads(crypto.unseal(stream.sealed_secrets))
    return found


def host() -> str:
    """What events come from, as targets have it."""
    return urlsplit(settings.PUBLIC_URL).hostname or "capsule"


def _sealed(stream: Stream, first: int, count: int, size: int, send: Callable[[], Outcome]) -> Parcel:
    return Parcel(stream.pk, stream.organization_id, first, count, size, send)


def _syslog(stream: Stream, first: int, count: int, messages: list[bytes]) -> Parcel:
    frames = b"".join(map(syslog.framed, messages))
    options, through = dict(stream.options), delivery.door()
    return _sealed(stream, first, count, len(frames), lambda: syslog.send(through, options, frames, TIMEOUT))


def _post(stream: Stream, first: int, count: int, message_id: str, events: list[Json], proof: Json | None) -> Parcel:
    secrets = secrets_of(stream)
    sign: Callable[[bytes], Mapping[str, str]] = lambda _: {}  # noqa: E731
    if stream.kind == Kind.SPLUNK:
        body = _for_splunk(stream, events, proof)
        headers = {"Authorization": f"Splunk {secrets['token']}"}
    elif stream.kind == Kind.DATADOG:
        body, headers = _for_datadog(events, proof), {"DD-API-KEY": secrets["api_key"]}
    else:
        body = orjson.dumps(
            {
                "type": BATCH_TYPE if proof else TEST_TYPE,
                "organization_id": str(stream.organization_id),
                "stream_id": str(stream.pk),
                "events": events,
                "proof": proof,
            }
        )
        headers = {"Authorization": secrets["authorization"]} if "authorization" in secrets else {}
        sign = _signer(stream, message_id)
    # the door is asked for here: threads that ask for the first time at once would get several
    url, kind, through = stream.options["url"], stream.kind, delivery.door()

    def send() -> Outcome:
        sent = {"Content-Type": "application/json", "User-Agent": AGENT, **headers, **sign(body)}
        try:
            answer = through.send(
                "POST",
                url,
                headers=sent,
                body=body,
                timeout=TIMEOUT,
                most=MOST_OF_AN_ANSWER,
                more_ports=kinds.ports_of(kind),
            )
        except http.HttpError as error:
            return failed(str(error), error.code)
        return judge(kind, answer)

    return _sealed(stream, first, count, len(body), send)


def _signer(stream: Stream, message_id: str) -> Callable[[bytes], Mapping[str, str]]:
    sealed = [stream.sealed_keys, stream.sealed_previous if stream.has_two_secrets else None]
    keys = [signing.unseal(bytes(one)) for one in sealed if one]
    return lambda body: signing.headers(keys, message_id=message_id, at=int(timezone.now().timestamp()), body=body)


def _for_splunk(stream: Stream, events: list[Json], proof: Json | None) -> bytes:
    """One object after the other, as the collector's endpoint for events takes them."""
    shared = {"host": host(), "source": "capsule"}
    if index := stream.options.get("index"):
        shared["index"] = index
    all_of_it = [
        {**shared, "sourcetype": "capsule:audit", "time": _epoch(one["recorded_at"]), "event": one} for one in events
    ]
    if proof:
        all_of_it.append({**shared, "sourcetype": "capsule:audit:checkpoint", "event": proof})
    return b"\n".join(map(orjson.dumps, all_of_it))


def _for_datadog(events: list[Json], proof: Json | None) -> bytes:
    """An array; a message that is JSON becomes attributes there, and `timestamp` the time of the log."""
    shared = {"ddsource": "capsule", "service": "capsule-audit", "hostname": host()}
    said = [{"timestamp": one["recorded_at"], **one} for one in events]
    if proof:
        said.append({"type": "checkpoint", **proof})
    return orjson.dumps([{**shared, "message": orjson.dumps(one).decode()} for one in said])


def _epoch(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
