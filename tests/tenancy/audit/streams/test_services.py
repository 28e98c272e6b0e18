"""What people do with streams: tests, changes, limits; and whose they are."""

import pytest

from tenancy.audit import actions
from tenancy.audit.streams import engine, parcels, selectors, services
from tenancy.errors import Invalid, LimitReached, NotFound
from tenancy.scope import scope
from tests.factories import Tenant
from tests.targets import Target
from tests.tenancy.audit.streams.conftest import AddStream
from tests.tenancy.audit.streams.streamed import (
    batches,
    log_of,
    stream_of,
)
from tests.trail import audited


def test_a_test_arrives_whatever_the_state_and_moves_nothing(tenant: Tenant, target: Target, add: AddStream) -> None:
    new = add(tenant, options={"url": target.url})
    with scope(tenant.organization):
        services.pause(actor=tenant.actor, stream_id=new.stream.pk)
    row = services.test(actor=tenant.actor, organization_id=tenant.organization.pk, stream_id=new.stream.pk)
    assert (row.has_arrived, row.reason, row.status) == (True, "test", 200)
    [word] = batches(target)[-1]["events"]
    assert word["sentence"] == parcels.TEST_SENTENCE
    assert stream_of(tenant, new).next_seq == 0
    with scope(tenant.organization):
        assert audited(actions.STREAM_TESTED.name)


def test_secrets_are_encrypted_and_an_address_cannot_be_moved_without_them(
    tenant: Tenant, target: Target, add: AddStream
) -> None:
    new = add(tenant, kind="splunk", options={"url": target.url}, secrets={"token": "very-secret"})
    stream = stream_of(tenant, new)
    assert b"very-secret" not in bytes(stream.sealed_secrets)
    with scope(tenant.organization):
        with pytest.raises(Invalid, match="Give the secrets again"):
            services.update(actor=tenant.actor, stream_id=stream.pk, options={"url": "https://evil.example.com/"})
        changed = services.update(
            actor=tenant.actor,
            stream_id=stream.pk,
            name="Other",
            options={"url": "https://splunk.example.com:8088/services/collector/event?x=hidden"},
            secrets={"token": "newer"},
        )
        assert (changed.name, parcels.secrets_of(changed)) == ("Other", {"token": "newer"})
        [event] = audited(actions.STREAM_UPDATED.name)
        assert "newer" not in event.body
        assert "hidden" not in event.body


@pytest.mark.parametrize(
    ("kind", "options", "secrets", "field"),
    [
        ("nothing", {}, {}, "kind"),
        ("https", {}, {}, "url"),
        ("https", {"url": "http://example.com/"}, {}, "url"),
        ("https", {"url": "https://10.0.0.1/"}, {}, "url"),
        ("https", {"url": "https://example.com:8088/"}, {}, "url"),
        ("splunk", {"url": "https://example.com:8088/"}, {}, "token"),
        ("splunk", {"url": "https://example.com/", "index": "No!"}, {"token": "x"}, "index"),
        ("datadog", {"url": "https://example.com/", "more": "x"}, {"api_key": "x"}, "more"),
        ("syslog", {"host": "logs.example.com", "port": "22"}, {}, "host"),
        ("syslog", {"host": "logs.example.com", "port": "6514", "ca_certificate": "x"}, {}, "ca_certificate"),
        ("s3", {"bucket": "B"}, {}, "bucket"),
    ],
)
def test_what_cannot_be_reached_is_refused_with_its_field(
    tenant: Tenant, add: AddStream, kind: str, options: dict[str, str], secrets: dict[str, str], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        add(tenant, kind=kind, options=options, secrets=secrets)
    assert refused.value.field == field


def test_there_is_a_most_and_a_deleted_stream_is_gone(tenant: Tenant, target: Target, add: AddStream) -> None:
    made = [add(tenant, options={"url": target.url}) for _ in range(services.MOST_STREAMS)]
    with pytest.raises(LimitReached):
        add(tenant, options={"url": target.url})
    with scope(tenant.organization):
        services.delete(actor=tenant.actor, stream_id=made[0].stream.pk)
        assert len(selectors.streams()) == services.MOST_STREAMS - 1
        assert audited(actions.STREAM_DELETED.name)
        assert len(audited(actions.STREAM_CREATED.name)) == services.MOST_STREAMS
        for call in (services.pause, services.resume, services.delete, services.rotate):
            with pytest.raises(NotFound):
                call(actor=tenant.actor, stream_id=made[0].stream.pk)


def test_a_stranger_s_stream_is_not_there(tenant: Tenant, stranger: Tenant, target: Target, add: AddStream) -> None:
    new = add(tenant, options={"url": target.url})
    with scope(stranger.organization):
        assert selectors.streams() == []
        with pytest.raises(NotFound):
            services.replay(actor=stranger.actor, stream_id=new.stream.pk, seq=0)


def test_the_log_keeps_its_newest_rows(
    tenant: Tenant, target: Target, add: AddStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MOST_KEPT", 2)
    new = add(tenant, options={"url": target.url})
    for _ in range(4):
        services.test(actor=tenant.actor, organization_id=tenant.organization.pk, stream_id=new.stream.pk)
    last = [one.pk for one in log_of(tenant)][-2:]
    assert engine.tidy() >= 2
    assert [one.pk for one in log_of(tenant)] == last
