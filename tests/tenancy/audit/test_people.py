"""Events name people by pseudonyms: they read as before, until a person is erased, and their bytes never change."""

import uuid

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenancy.audit import actions, people, pseudonyms, selectors
from tenancy.audit.models import AuditEvent, AuditIdentifier, AuditPerson
from tenancy.audit.pseudonyms import ERASED, PSEUDONYM
from tenancy.audit.services import SYSTEM, Actor, Context, Target, context, record, record_call
from tenancy.errors import NotFound
from tenancy.scope import ScopeError, one_trip, scope
from tests.factories import Tenant, make_tenant
from tests.raw import connect
from tests.trail import audited

THING = Target("project", "p1", "Support Bot")
BROWSER = Context("r1", "203.0.113.7", "Firefox/140", "s1")
# What PostgreSQL stores: no NUL, no half of a pair
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


def somebody(label: str = "ada@example.com", subject_id: str = "") -> Actor:
    return Actor("user", subject_id or uuid.uuid4().hex, label)


@pytest.fixture(autouse=True)
def _a_process_that_has_seen_nobody() -> None:
    pseudonyms._known.clear()


def test_names_addresses_and_programs_of_people_are_not_in_the_body(tenant: Tenant) -> None:
    with scope(tenant.organization), context(BROWSER):
        event = record(
            action=actions.MEMBER_ADDED,
            actor=somebody(),
            target=Target("user", "u2", "bob@example.com"),
            metadata={"role": "admin"},
        )
        assert event.actor["label"] == "ada@example.com"
        stored = AuditEvent.objects.get(pk=event.pk)
        assert stored.body == event.body
        for name in ("ada@", "bob@", "203.0.113.7", "Firefox"):
            assert name not in stored.body
        assert len(PSEUDONYM.findall(stored.body)) == 4
        assert set(stored.target["label"]) == {"pseudonym"}
        [again] = people.reveal([stored])
    assert again.target == {"kind": "user", "id": "u2", "label": "bob@example.com"}
    assert again.context == {"request_id": "r1", "ip": "203.0.113.7", "user_agent": "Firefox/140", "session_id": "s1"}


@pytest.mark.parametrize(
    "actor", [SYSTEM, Actor("api_key", "k1", "Server (cmk_abc…)"), Actor("staff", "", "a command")]
)
def test_machines_are_named_in_clear(actor: Actor, tenant: Tenant) -> None:
    with scope(tenant.organization), context(BROWSER):
        body = record(action=actions.PROJECT_UPDATED, actor=actor, target=THING).body
    assert not PSEUDONYM.search(body)
    assert actor.label in body
    assert "203.0.113.7" in body


def test_where_somebody_tries_to_sign_in_from_goes_with_whom_they_say_they_are(tenant: Tenant) -> None:
    with scope(tenant.organization), context(BROWSER):
        unknown, member = Actor("unknown", "", ""), Target("user", "u7", "ada@example.com")
        event = record(action=actions.SIGN_IN_FAILED, actor=unknown, target=member)
        assert "203.0.113.7" not in event.body
        assert event.context["ip"] == "203.0.113.7"
        people.erase(kind="user", subject_id="u7", actor=SYSTEM, reason="Asked")
        assert audited("account.sign_in_failed")[0].context["ip"] == ERASED


def test_an_end_user_s_id_is_a_name_too(tenant: Tenant) -> None:
    with scope(tenant.organization):
        event = record(
            action=actions.MEMORY_USER_DELETED,
            actor=SYSTEM,
            target=Target("end_user", "eve@example.com", "eve@example.com"),
            metadata={"capsules": 1, "sessions": 2, "turns": 4, "triggers": 0},
        )
        stored = AuditEvent.objects.get(pk=event.pk)
        assert "eve@" not in stored.body + stored.target_id
        assert event.target["id"] == "eve@example.com"
        assert selectors.events(target="eve@example.com") == [event]
        assert selectors.events(target="EVE@") == [event]


def test_declared_fields_that_name_people_have_pseudonyms(tenant: Tenant) -> None:
    with scope(tenant.organization):
        whose = record(
            action=actions.MEMORY_SKILL_CREATED,
            actor=SYSTEM,
            target=Target("capsule", "c1", "A skill"),
            metadata={"user_id": "eve@example.com"},
        )
        renamed = record(
            action=actions.ACCOUNT_RENAMED,
            actor=somebody(),
            target=Target("user", "u1", "ada@example.com"),
            changes={"name": ["Ada", "Ada Lovelace"]},
        )
    assert "eve@" not in whose.body
    assert whose.metadata == {"user_id": "eve@example.com"}
    assert "Lovelace" not in renamed.body
    assert renamed.changes == {"name": ["Ada", "Ada Lovelace"]}


def test_a_person_has_one_pseudonym_in_an_organization_and_another_in_the_next(
    tenant: Tenant, stranger: Tenant
) -> None:
    ada = somebody()
    found = []
    for one in (tenant, tenant, stranger):
        with scope(one.organization):
            found += PSEUDONYM.findall(record(action=actions.PROJECT_UPDATED, actor=ada, target=THING).body)
    assert found[0] == found[1] != found[2]


def test_what_a_body_stands_for_is_stored_once(tenant: Tenant) -> None:
    ada = somebody()
    with scope(tenant.organization), context(BROWSER):
        for _ in range(3):
            record(action=actions.PROJECT_UPDATED, actor=ada, target=THING)
        assert AuditPerson.objects.filter(subject_id=ada.id).count() == 1
        assert AuditIdentifier.objects.filter(person__subject_id=ada.id).count() == 3


@pytest.mark.django_db(transaction=True)
def test_nobody_is_believed_known_whose_introduction_was_rolled_back() -> None:
    tenant, ada = make_tenant(), somebody()

    def fail() -> None:
        record(action=actions.PROJECT_UPDATED, actor=ada, target=THING)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), scope(tenant.organization):
        fail()
    with scope(tenant.organization):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            fail()
        event = record(action=actions.PROJECT_UPDATED, actor=ada, target=THING)
        assert audited(target=THING.id) == [event]
        assert audited(target=THING.id)[0].actor["label"] == ada.label


@pytest.mark.django_db(transaction=True)
def test_a_known_person_costs_no_question() -> None:
    tenant, ada = make_tenant(), somebody()
    with scope(tenant.organization):
        record(action=actions.PROJECT_UPDATED, actor=ada, target=THING)
    call = record_call(action=actions.PROJECT_UPDATED, actor=ada, target=THING, organization_id=tenant.organization.pk)
    with connect("superuser") as server:
        server.execute("SET session_replication_role = replica")  # foreign keys
        server.execute("DELETE FROM audit_auditidentifier WHERE organization_id = %s", [tenant.organization.pk])
    again = record_call(action=actions.PROJECT_UPDATED, actor=ada, target=THING, organization_id=tenant.organization.pk)
    assert call == again
    with connect("superuser") as server:
        rows = server.execute(
            "SELECT count(*) FROM audit_auditidentifier WHERE organization_id = %s", [tenant.organization.pk]
        ).fetchone()
    assert rows == (0,)


@pytest.mark.django_db(transaction=True)
def test_the_one_trip_way_introduces_people_by_itself() -> None:
    tenant, ada = make_tenant(), somebody()
    call = record_call(action=actions.PROJECT_UPDATED, actor=ada, target=THING, organization_id=tenant.organization.pk)
    one_trip(tenant.organization.pk, call)
    with scope(tenant.organization):
        assert audited(target=THING.id)[0].actor["label"] == ada.label


def test_an_event_of_one_organization_is_not_prepared_in_the_scope_of_another(tenant: Tenant, stranger: Tenant) -> None:
    with scope(tenant.organization), pytest.raises(ScopeError):
        record_call(
            action=actions.PROJECT_UPDATED,
            actor=somebody(),
            target=THING,
            organization_id=stranger.organization.pk,
        )


@given(label=words, ip=words, agent=words, end_user=words.filter(bool))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_people_are_called_their_events_read_as_they_were_written(
    label: str, ip: str, agent: str, end_user: str, tenant: Tenant
) -> None:
    target = Target("end_user", end_user, label)
    with scope(tenant.organization), context(Context("r", ip, agent)):
        event = record(action=actions.PROJECT_UPDATED, actor=somebody(label), target=target)
        [again] = people.reveal(AuditEvent.objects.filter(pk=event.pk))
    assert again.content == event.content
    assert again.actor["label"] == again.target["label"] == label
    assert again.target["id"] == end_user
    assert (again.context["ip"], again.context["user_agent"]) == (ip, agent)


@given(label=words.filter(bool), others=st.lists(words.filter(bool), max_size=3))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_erasing_a_person_leaves_every_byte_and_every_other_person(
    label: str, others: list[str], tenant: Tenant
) -> None:
    gone = somebody(label)
    with scope(tenant.organization), context(BROWSER):
        theirs = [record(action=actions.PROJECT_UPDATED, actor=gone, target=THING) for _ in range(2)]
        rest = [record(action=actions.PROJECT_UPDATED, actor=somebody(one), target=THING) for one in others]
        before = dict(AuditEvent.objects.values_list("id", "body"))
        assert people.erase(kind="user", subject_id=gone.id, actor=SYSTEM, reason="Asked to be forgotten") == 3
        after = dict(AuditEvent.objects.values_list("id", "body"))
        [told] = selectors.events(limit=1)
        assert {pk: after[pk] for pk in before} == before
        shown = people.reveal(AuditEvent.objects.filter(pk__in=[one.pk for one in theirs]))
        assert all(one.actor["label"] == one.context["ip"] == ERASED for one in shown)
        assert {
            one.actor["label"] for one in people.reveal(AuditEvent.objects.filter(pk__in=[one.pk for one in rest]))
        } == set(others)
    assert (told.action, told.reason) == ("audit.person.erased", "Asked to be forgotten")
    assert told.target["id"] == gone.id
    assert told.metadata == {"kind": "user", "erased": 3}


def test_an_erased_person_leaves_neither_key_nor_name_and_comes_back_as_somebody_new(tenant: Tenant) -> None:
    ada = somebody()
    with scope(tenant.organization):
        first = record(action=actions.PROJECT_UPDATED, actor=ada, target=THING)
        people.erase(kind="user", subject_id=ada.id, actor=SYSTEM, reason="Asked")
        assert not AuditPerson.objects.filter(subject_id=ada.id).exists()
        assert not AuditIdentifier.objects.filter(value=ada.label).exists()
        second = record(action=actions.PROJECT_UPDATED, actor=ada, target=THING)
        assert PSEUDONYM.findall(first.body) != PSEUDONYM.findall(second.body)
        labels = [one.actor["label"] for one in audited(target=THING.id)]
    assert labels == [ERASED, ada.label]


def test_the_erasure_of_an_end_user_does_not_say_whom(tenant: Tenant) -> None:
    with scope(tenant.organization):
        record(action=actions.PROJECT_UPDATED, actor=SYSTEM, target=Target("end_user", "eve@x.com", "eve@x.com"))
        people.erase(kind="end_user", subject_id="eve@x.com", actor=SYSTEM, reason="Asked")
        assert not any("eve@x.com" in str(one.content) for one in audited())


def test_staff_are_erased_as_the_users_they_are(tenant: Tenant) -> None:
    with scope(tenant.organization):
        record(action=actions.STAFF_LOOKED, actor=Actor("staff", "m1", "max@example.com"), target=THING, reason="T1")
        people.erase(kind="user", subject_id="m1", actor=SYSTEM, reason="Left the house")
        assert audited("staff.looked")[0].actor["label"] == ERASED


def test_every_kind_of_person_can_be_erased() -> None:
    kinds = {pseudonyms.person_kind(kind) for kind in pseudonyms.PERSONAL}
    assert kinds == set(people.PersonKind.values), "add the new kind to PersonKind, or it stays for ever"


def test_nobody_unknown_is_erased_nor_somebody_of_another_organization(tenant: Tenant, stranger: Tenant) -> None:
    ada = somebody()
    with scope(stranger.organization):
        record(action=actions.PROJECT_UPDATED, actor=ada, target=THING)
    with scope(tenant.organization), pytest.raises(NotFound):
        people.erase(kind="user", subject_id=ada.id, actor=SYSTEM, reason="Asked")
    with scope(stranger.organization):
        assert audited(target=THING.id)[0].actor["label"] == ada.label


def test_a_stolen_table_of_events_cannot_be_tried_with_a_list_of_addresses(tenant: Tenant) -> None:
    with scope(tenant.organization):
        record(action=actions.PROJECT_UPDATED, actor=somebody("a@b.c", "u9"), target=THING)
        row = AuditPerson.objects.get(subject_id="u9")
    # without the key a pseudonym is a number: the one of a key that somebody guesses is another
    assert pseudonyms.pseudonym(b"guess", "label", "a@b.c") != pseudonyms.pseudonym(bytes(row.key), "label", "a@b.c")
