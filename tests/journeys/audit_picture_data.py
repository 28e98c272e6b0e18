"""The audit log of the pictures: a month of it, searches that were kept, exports, stores, schedules and streams."""

import random
import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from django.utils import timezone

from capsule_cloud.lib import embedded
from tenancy.audit import actions
from tenancy.audit.catalogue.action import Action
from tenancy.audit.exports import scheduling, services, targets, writing
from tenancy.audit.exports.models import Export, Schedule, Target
from tenancy.audit.exports.services import Wish
from tenancy.audit.models import AuditEvent
from tenancy.audit.sealing import sealer, selectors
from tenancy.audit.sealing.models import Leaf
from tenancy.audit.search import services as views
from tenancy.audit.selectors import first_id
from tenancy.audit.services import Actor, Context, context, record_call
from tenancy.audit.services import Target as On
from tenancy.audit.streams import services as streams
from tenancy.audit.streams.models import DeadLetter, Delivery, Stream
from tenancy.models import ApiKey, Membership, Organization
from tenancy.scope import scope

DAYS = 30
PAUSE = 0.2  # seconds until it is looked again at what somebody else may be doing
BEHIND = 14  # events that a stream has not been sent
LATER = timedelta(days=365)  # whoever works beside us leaves alone what is due then
BROWSER = "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_7) AppleWebKit/605.1.15 Version/18.1 Safari/605.1.15"
SERVER = "capsule-memory/1.4.0 python/3.13 Linux x86_64"
PAST = """
INSERT INTO audit_auditevent (organization_id, id, action, actor_id, target_id, body)
SELECT %(of)s, id, %(action)s, %(actor)s, %(target)s, '{"id":"' || id || '","organization_id":"' || %(of)s
    || '","recorded_at":"' || to_char(%(at)s AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '",'
    || substr(%(body)s, 2)
FROM uuidv7(%(at)s - clock_timestamp()) AS id
"""
Said = tuple[Action, dict[str, Any]]


def keep(organization: Organization, owner: Actor) -> dict[str, str]:
    """Paths below the organization, by the names of the pictures."""
    with scope(organization):
        key = ApiKey.objects.earliest("created_at")
        people = {one.role: one.user for one in Membership.objects.select_related("user")}
    mate, viewer = (Actor("user", str(one.pk), one.email) for one in (people["admin"], people["viewer"]))
    server = Actor("api_key", str(key.pk), f"{key.name} ({key.hint}…)")
    _live_a_month(organization, owner, mate, viewer, server)
    with scope(organization):
        for name, filters in (
            ("Access changes", {"action": "organization.member, organization.api_key"}),
            ("Refused", {"is_failure": "on"}),
            ("What Capsule staff did", {"is_staff": "on"}),
        ):
            views.save(actor=owner, name=name, filters=filters, is_shared=name != "Refused")
        event = AuditEvent.objects.filter(action=actions.MEMBER_ROLE_CHANGED.name).latest("id")
    seal_all(organization)
    store = _stores(organization, owner)
    export = _exports(organization, owner, store)
    stream = _streams(organization, owner)
    return {
        "audit": "audit/",
        "audit-event": f"audit/{event.pk}/",
        "audit-exports": "audit/exports/",
        "audit-export": f"audit/exports/{export}/",
        "audit-store": f"audit/targets/{store.pk}/",
        "audit-streams": "audit/streams/",
        "audit-stream": f"audit/streams/{stream}/",
        "audit-erase": "audit/erase/",
    }


def _live_a_month(organization: Organization, owner: Actor, mate: Actor, viewer: Actor, server: Actor) -> None:
    """A month cannot be lived through while the camera waits: the rows are written as it would have."""
    chance = random.Random(7)  # a picture needs no secret
    somebody = On("user", str(uuid4()), "kenji@northwind.example")
    office, cloud = Context("", "203.0.113.7", BROWSER), Context("", "198.51.100.24", SERVER)
    staff = Actor("staff", str(uuid4()), "Grace Hoppe")
    with (
        psycopg.connect(embedded.urls().superuser, autocommit=True) as server_of_all,
        scope(organization),
    ):
        server_of_all.execute("SELECT audit_make_partitions(now() - interval '2 months', now() + interval '1 month')")

        def say(at: datetime, where: Context, action: Action, actor: Actor, target: On, **more: Any) -> None:
            with context(Context(uuid4().hex, where.ip, where.user_agent, where.session_id)):
                said = record_call(action=action, actor=actor, target=target, **more).params
            names = ("action", "actor", "target", "body")
            server_of_all.execute(PAST, {"of": organization.pk, "at": at} | dict(zip(names, said, strict=True)))

        for back in range(DAYS, -1, -1):
            day = timezone.now() - timedelta(days=back, minutes=30)
            weight = 0.3 if day.weekday() >= 5 else 1.0
            for n in range(round(weight * chance.randint(9, 17))):
                session = On("session", f"chat-{chance.randint(900, 1999)}", "")
                at = day - timedelta(minutes=11 * n)
                sealed = {"capsule_id": f"cap_{uuid4().hex[:12]}", "turns": chance.randint(2, 14)}
                say(at, cloud, actions.MEMORY_SESSION_SEALED, server, session, metadata=sealed)
            for n in range(round(weight * chance.randint(1, 4))):
                who = chance.choice([owner, mate, viewer])
                at = day - timedelta(minutes=17 * n)
                say(at, office, actions.SIGNED_IN, who, On("user", who.id, who.label))
            if back % 6 == 2:
                refused = {"code": "forbidden", "method": "POST", "path": "/v1/keys"}
                for n in range(chance.randint(1, 5)):
                    at = day - timedelta(minutes=n)
                    say(at, cloud, actions.ACCESS_DENIED, server, On("organization", "", ""), metadata=refused)
        now = timezone.now()
        whole = On("organization", str(organization.pk), organization.name)
        say(now - timedelta(minutes=21), Context(), actions.STAFF_LOOKED, staff, whole, reason="Ticket 4711")
        failed = On("user", mate.id, mate.label)
        say(now - timedelta(minutes=19), office, actions.SIGN_IN_FAILED, mate, failed)
        changes = {"role": ["viewer", "admin"]}
        say(
            now - timedelta(minutes=12),
            office,
            actions.MEMBER_ROLE_CHANGED,
            owner,
            somebody,
            metadata={"keys_revoked": 0},
            changes=changes,
        )


def seal_all(organization: Organization) -> int:
    """Have everything sealed, here or by the sealer beside us; returns how many events there are."""
    for _ in range(100):
        sealer.seal()
        with scope(organization):
            if (size := selectors.sealed_size()) >= AuditEvent.objects.count():
                return size
        time.sleep(PAUSE)
    raise RuntimeError("Events of the pictures are not sealed: is the service running?")


def catch_up(organization: Organization) -> None:
    """Say how far streams are, once the camera has been everywhere: each page that it looks at is an event, too."""
    size, now = seal_all(organization), timezone.now()
    with scope(organization):
        Stream.objects.filter(kind="splunk").update(next_seq=size, last_success_at=now)
        Stream.objects.filter(kind="https").update(
            next_seq=size - BEHIND,
            due_at=now + timedelta(minutes=9),
            failing_since=now - timedelta(minutes=3),
            last_success_at=now - timedelta(minutes=3),
        )
        before = Leaf.objects.filter(event_id__lt=first_id(now - timedelta(hours=29))).latest("seq")
        Stream.objects.filter(kind="syslog").update(next_seq=before.seq + 1)
        hook = Stream.objects.get(kind="https")
        _log(hook, hook.next_seq, now)


def _stores(organization: Organization, owner: Actor) -> Target:
    now = timezone.now()
    with scope(organization):
        archive = targets.create(
            actor=owner,
            name="Security archive",
            kind="s3",
            options={"bucket": "northwind-audit", "region": "eu-central-1", "prefix": "capsule"},
            secrets={"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": uuid4().hex},
        )
        legal = targets.create(
            actor=owner,
            name="Legal hold",
            kind="https",
            options={"url": "https://vault.northwind.example/in"},
            secrets={"authorization": "Bearer x"},
        )
        Target.objects.filter(pk=archive.pk).update(worked_at=now - timedelta(hours=9))
        failure = "The server answered 403: it refuses the credentials."
        Target.objects.filter(pk=legal.pk).update(failed_at=now - timedelta(minutes=40), failure=failure)
        scheduling.create(actor=owner, name="Every night", every="day", target_id=archive.pk, wish=Wish("parquet"))
        weekly = scheduling.create(actor=owner, name="For the auditor", every="week", target_id=legal.pk, wish=Wish())
        Schedule.objects.filter(pk=weekly.pk).update(is_paused=True)
        return Target.objects.get(pk=archive.pk)


def _exports(organization: Organization, owner: Actor, store: Target) -> UUID:
    """Three that are written for real, and one that stays in the middle; returns the newest that is ready."""
    with scope(organization):
        night = Schedule.objects.get(name="Every night")
        made = [
            services.request(actor=owner, wish=Wish("parquet")),
            services.request(actor=owner, wish=Wish("csv", action="organization.")),
            services.request(actor=owner, wish=Wish("jsonl", "zstd")),
        ]
    for _ in range(100):
        writing.work()
        with scope(organization):
            if Export.objects.filter(state=Export.State.READY).count() == len(made):
                break
        time.sleep(PAUSE)
    else:
        raise RuntimeError("Exports of the pictures are not written: is the service running?")
    with scope(organization):
        now = timezone.now()
        Export.objects.filter(pk=made[0].pk).update(
            created_at=now - timedelta(hours=9), schedule=night, target=store, sent_at=now - timedelta(hours=9)
        )
        Export.objects.filter(pk=made[1].pk).update(created_at=now - timedelta(hours=2))
        last = services.request(actor=owner, wish=Wish("csv", "gzip"))
        size = selectors.sealed_size()
        Export.objects.filter(pk=last.pk).update(
            state=Export.State.RUNNING,
            first=0,
            last=size,
            position=size * 62 // 100,
            rows=size * 62 // 100,
            leased_until=now + LATER,
        )
    return made[-1].pk


def _streams(organization: Organization, owner: Actor) -> UUID:
    """One that is up to date, one that is behind, one that was paused; returns the one that is behind."""
    now = timezone.now()
    with scope(organization):
        splunk = streams.create(
            actor=owner,
            name="Splunk, security team",
            kind="splunk",
            options={"url": "https://http-inputs.northwind.splunkcloud.example/services/collector/event"},
            secrets={"token": str(uuid4())},
        ).stream
        hook = streams.create(
            actor=owner,
            name="Incident channel",
            kind="https",
            options={"url": "https://siem.northwind.example/in"},
            secrets={},
        ).stream
        old = streams.create(
            actor=owner,
            name="Old collector",
            kind="syslog",
            options={"host": "syslog.northwind.example", "port": "6514"},
            secrets={},
        ).stream
        Stream.objects.update(due_at=now + LATER)
        Stream.objects.filter(pk=splunk.pk).update(sent=48_210)
        Stream.objects.filter(pk=hook.pk).update(sent=12_904, failures=2)
        why = "Nothing has arrived for a day, in 148 attempts."
        Stream.objects.filter(pk=old.pk).update(
            sent=9_871,
            state=Stream.State.PAUSED,
            state_reason=why,
            state_since=now - timedelta(hours=5),
            last_success_at=now - timedelta(hours=29),
        )
        return hook.pk


def _log(stream: Stream, behind: int, now: datetime) -> None:
    said = ("Answered 200.", 200, True, "ok")
    away = ("Answered 503.", 503, False, '{"error": "maintenance"}')
    attempts = [(behind - 40, 12, 90, said), (behind - 28, 9, 60, said), (behind - 19, 19, 12, said)]
    attempts += [(behind, BEHIND, 2, away), (behind, BEHIND, 1, away)]
    for first, count, minutes, (sentence, status, has_arrived, answer) in attempts:
        Delivery.objects.create(
            stream=stream,
            first=first,
            count=count,
            bytes=count * 900,
            started_at=now - timedelta(minutes=minutes),
            milliseconds=140 + 7 * count,
            status=status,
            sentence=sentence,
            answer=answer,
            has_arrived=has_arrived,
        )
    leaf = Leaf.objects.get(seq=behind - 20)
    DeadLetter.objects.create(
        stream=stream, seq=leaf.seq, event_id=leaf.event_id, status=422, sentence="Answered 422: unknown field ocsf."
    )
