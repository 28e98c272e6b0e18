"""Admits what draws on an allowance, and writes the caps that customers choose."""

import functools
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from billing import announcements
from billing.metering.meters import Meter
from billing.metering.services import Use
from billing.plans import ALLOWANCE_METERS, Allowance, Feature
from billing.quotas import selectors
from billing.quotas.end_users import WRITES, Entry, end_users
from billing.quotas.leases import Answer, MissingCounter, Subject, Taken, leases
from billing.quotas.models import SAMPLED, Cap, Counter, Level, Notice, Reaction, Span, Watch
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Forbidden, Invalid, NotFound, TenancyError
from tenancy.models import Organization
from tenancy.scope import current_organization_id, scope
from tenancy.services import organizations

MOST_COUNTERS = 8  # the plan's, and a cap a period and a day on the organization, the project and the key
COUNTED = {meter: one for one in selectors.FLOWS for meter in ALLOWANCE_METERS[one]}
WHOLE = frozenset({Allowance.STORED_BYTES, Allowance.END_USERS})  # have a cap for the organization's whole period
CAPPED = frozenset({*selectors.FLOWS, *WHOLE})
SOFT = frozenset({Meter.RECALL})  # goes on at a cap
DEFAULT_PERCENTS = (50, 80, 100)
MOST_PERCENTS = 10
UNSETTLED = -1  # of a counter made from events, to which reads may still come from a spool: to be settled once
LARGEST_AMOUNT = 2**53  # exact in every client that reads JSON


class QuotaReached(TenancyError):
    """A write found a cap reached: nothing has happened. `str()` says what it means and what helps.

    `may_park`: the customer chose that such writes wait, or earlier ones wait already and this one must not overtake.
    `is_of_user`: it concerns the use's end user alone, who is one too many; those who are in go on.
    """

    code = "quota_reached"

    def __init__(self, use: Use, answer: Answer) -> None:
        super().__init__(_sentence(answer, use.organization_id))
        self.use = use
        self.may_park = answer.state == "queued" or answer.reaction == Reaction.PARK
        self.is_of_user = answer.allowance == Allowance.END_USERS
        self.resets_at = datetime.fromtimestamp(answer.ends_at, UTC)


class FeatureMissing(Forbidden):
    """The organization's plan does not have it."""

    code = "feature_not_in_plan"


@dataclass(slots=True)  # made for every call: frozen would take three times as long
class Receipt:
    """What a use was counted as, and what is left of its allowance for everybody; None where nothing limits it."""

    event_id: UUID
    meter: Meter
    quantity: int
    remaining: int | None
    is_throttled: bool = False  # past a cap where the customer chose that writes slow down
    subject: Subject | None = None
    taken: Taken | None = None
    entry: Entry | None = None


def admit(use: Use, *, stamp: Hashable = None, session_id: str = "", is_queued: bool = False) -> Receipt:
    """Take what a use counts as from its allowance, before it happens. Raises QuotaReached for a write, never a read.

    A write also lets its end user in, or without a name the owner of `session_id`. Needs no scope, and no query while
    this process holds a lease and knows who is in. `stamp` changes when the limits do; without one it is read. Call
    `undo` with the receipt when the operation does not happen. `is_queued` marks a parked write that is being applied.
    """
    allowance = COUNTED.get(use.meter)
    receipt = Receipt(use.event_id, use.meter, use.quantity, None)
    if allowance is not None:
        subject = Subject(use.organization_id, use.project_id, use.key_id, allowance)
        is_write = use.meter not in SOFT
        stamp = _stamp(use.organization_id) if stamp is None else stamp
        taken = _take(subject, use.quantity, stamp, is_write=is_write, is_queued=is_queued)
        if is_write and not taken.is_allowed:
            raise QuotaReached(use, taken.answer)
        receipt.remaining, receipt.is_throttled = taken.remaining, taken.answer.is_throttled
        receipt.subject, receipt.taken = subject, taken
    try:
        entry = let_in(use, stamp=stamp, session_id=session_id, is_queued=is_queued)
    except BaseException:
        undo(receipt)
        raise
    if entry is not None:
        receipt.entry = entry
        receipt.is_throttled = receipt.is_throttled or entry.is_throttled
    return receipt


def _stamp(organization_id: UUID) -> Hashable:
    with scope(organization_id):
        return selectors.stamp()


def let_in(use: Use, *, stamp: Hashable = None, session_id: str = "", is_queued: bool = False) -> Entry | None:
    """Let a write's end user in, as `admit` does, which tells more. Raises QuotaReached where they are one too many."""
    if use.meter not in WRITES:
        return None
    entry = end_users.enter(use, stamp=stamp, session_id=session_id, is_queued=is_queued)
    if entry is not None and not entry.is_allowed:
        raise QuotaReached(use, _answer(entry))
    return entry


def _answer(entry: Entry) -> Answer:
    return Answer(
        state=entry.state,
        granted=0,
        rest=entry.rest,
        counters=(),
        ends_at=entry.ends_at,
        may_keep=False,
        is_throttled=entry.is_throttled,
        level=Level.ORGANIZATION,
        span=Span.PERIOD,
        amount=entry.amount or 0,
        reaction=entry.reaction or "",
        allowance=Allowance.END_USERS,
    )


def undo(receipt: Receipt) -> None:
    """Put back what an operation took that did not happen."""
    if receipt.subject is not None and receipt.taken is not None:
        leases.put_back(receipt.subject, receipt.taken)
    if receipt.entry is not None:
        end_users.leave(receipt.entry)


def _take(subject: Subject, units: int, stamp: Hashable, *, is_write: bool, is_queued: bool) -> Taken:
    for _ in range(MOST_COUNTERS):
        try:
            return leases.take(subject, units, stamp=stamp, is_write=is_write, is_queued=is_queued)
        except MissingCounter as missing:
            begin(subject, missing)
    raise AssertionError("Every counter was made, and one is missing.")


def begin(subject: Subject, missing: MissingCounter) -> None:
    """Make a counter from the usage events; whoever is first makes it, the others take that one."""
    with scope(subject.organization_id):
        counter = Counter(
            allowance=subject.allowance,
            level=missing.level,
            subject_id=missing.subject_id,
            span=missing.span,
            starts_at=missing.starts_at,
            settled=UNSETTLED,
            used=selectors.used(
                subject.allowance, level=missing.level, subject_id=missing.subject_id, since=missing.starts_at
            ),
        )
        Counter.objects.bulk_create([counter], ignore_conflicts=True)


def catch_up(allowance: Allowance, *, level: str, subject_id: UUID, span: str = Span.PERIOD) -> None:
    """Begin a counter anew from the usage events, where a limit holds again: while there was none nobody counted.

    It is another one then: what is still held of the old one does not go back to it, and is not used any more, also
    where the limit is the same again. Call it once the limit is there.
    """
    if allowance not in selectors.FLOWS or selectors.limits_on(allowance, subject_id, span) > 1:
        return  # it has been counting all the time
    starts_at = selectors.span_of(span).starts_at
    mine = Counter.objects.filter(allowance=allowance, subject_id=subject_id, span=span, starts_at=starts_at)
    if mine.exists():
        so_far = selectors.used(allowance, level=level, subject_id=subject_id, since=starts_at)
        mine.update(id=Counter().pk, used=so_far, granted=0, marked=0, marked_at=timezone.now(), settled=UNSETTLED)
        ask_anew()


@functools.lru_cache(maxsize=10_000)
def plan_page(organization_id: UUID) -> str:
    """Where the plan is changed. An organization keeps its slug, so one query in a process's life is enough."""
    with scope(organization_id):
        slug = Organization.objects.values_list("slug", flat=True).get()
    return f"{settings.PUBLIC_URL}/o/{slug}/billing/plan/"


def _sentence(answer: Answer, organization_id: UUID) -> str:
    link = plan_page(organization_id)
    until = f"{datetime.fromtimestamp(answer.ends_at, UTC):%Y-%m-%d %H:%M} UTC"
    if answer.allowance == Allowance.END_USERS:
        if answer.state == "queued":
            return f"Earlier writes of this end user wait until there is room for new ones. Raise the cap: {link}"
        return (
            f"The organization has its {answer.amount:,} active end users of this billing period, and this one is new: "
            f"nothing was written. The others go on. New ones are let in again on {until}, or when the cap is raised "
            f"or the plan changed: {link}"
        )
    if answer.state == "queued":
        return f"Earlier writes wait for a cap to lift, and this one may not overtake them. Raise the cap: {link}"
    if answer.allowance == Allowance.STORED_BYTES:
        return (
            f"The organization stores its {answer.amount:,} bytes: nothing was written. Recalls, reads and deletions "
            f"go on. Delete memories, raise the cap or change the plan; it is noticed within ten minutes: {link}"
        )
    whose = {Level.ORGANIZATION: "organization", Level.PROJECT: "project", Level.KEY: "API key"}[Level(answer.level)]
    span = "day" if answer.span == Span.DAY else "billing period"
    return (
        f"The {whose} has used its {answer.amount:,} operations of this {span}: nothing was written. Recalls, reads "
        f"and deletions go on. Writes begin again on {until}, or when the cap is raised or the plan changed: {link}"
    )


def set_cap(
    *, actor: Actor, allowance: str, level: str, subject_id: UUID, amount: int, reaction: str, span: str = Span.PERIOD
) -> Cap:
    """Choose how much the organization, a project or a key may use, or choose anew. It holds within a second.

    Raises Invalid for an unknown word or more than the plan allows, NotFound for a subject that is not there,
    FeatureMissing where the plan does not park writes.
    """
    organization = organizations.locked()
    _check_words(allowance, level, span, reaction)
    if isinstance(amount, bool) or not 0 <= amount <= LARGEST_AMOUNT:
        raise Invalid("amount", "Write a whole number, 0 or more.")
    most = selectors.plan_limit(Allowance(allowance))
    if most is not None and amount > most:
        raise Invalid("amount", f"Your plan allows at most {most:,} a billing period: change the plan first.")
    if reaction == Reaction.PARK and Feature.PARKED_WRITES not in organization.features:
        raise FeatureMissing("Your plan refuses writes at a cap and does not park them: change the plan first.")
    label = selectors.label(level, subject_id)
    if label is None:
        raise NotFound(f"There is no such {level}.")
    cap, is_new = Cap.objects.get_or_create(
        allowance=allowance,
        subject_id=subject_id,
        span=span,
        defaults={"level": level, "amount": amount, "reaction": reaction},
    )
    if not is_new and (cap.amount, cap.reaction) == (amount, reaction):
        return cap
    if is_new:
        catch_up(Allowance(allowance), level=level, subject_id=subject_id, span=span)
    before = {} if is_new else {"amount": cap.amount, "reaction": cap.reaction}
    old, cap.amount, cap.reaction, cap.changed_at = cap.amount, amount, reaction, timezone.now()
    cap.save(update_fields=["amount", "reaction", "changed_at"])
    done = record(
        action=actions.CAP_SET,
        actor=actor,
        target=Target(level, str(subject_id), label),
        metadata={"allowance": allowance, "span": span},
        changes=actions.CAP_SET.changed(before, {"amount": amount, "reaction": reaction}),
    )
    if not is_new and amount > old:
        _tell_lifted(cap, old, amount, key=str(done.pk))
    ask_anew()
    return cap


def clear_cap(*, actor: Actor, cap_id: UUID) -> None:
    """Take a cap away: the plan's own limit stays. Raises NotFound."""
    organizations.locked()
    cap = Cap.objects.filter(pk=cap_id).first()
    if cap is None:
        raise NotFound("There is no such cap.")
    label = selectors.label(cap.level, cap.subject_id) or str(cap.subject_id)
    cap.delete()
    done = record(
        action=actions.CAP_CLEARED,
        actor=actor,
        target=Target(cap.level, str(cap.subject_id), label),
        metadata={"allowance": cap.allowance, "span": cap.span},
        changes=actions.CAP_CLEARED.changed({"amount": cap.amount, "reaction": cap.reaction}, {}),
    )
    _tell_lifted(cap, cap.amount, None, key=str(done.pk))
    ask_anew()


def _tell_lifted(cap: Cap, before: int, limit: int | None, *, key: str) -> None:
    spans = {cap.span, SAMPLED} if cap.allowance == Allowance.STORED_BYTES else {cap.span}
    reached = Notice.objects.filter(kind=Notice.Kind.THRESHOLD, what=cap.allowance, subject_id=cap.subject_id)
    reached = reached.filter(span__in=spans, percent__gte=100, limit=before, lifted_at=None)
    reached.update(lifted_at=timezone.now())  # it is said here, and once
    announcements.cap_lifted(
        allowance=cap.allowance, level=cap.level, subject_id=cap.subject_id, span=cap.span, limit=limit, key=key
    )


def set_watch(*, actor: Actor, allowance: str, percents: list[int]) -> Watch:
    """Choose at which percentages of a cap to be told; an empty list: never. Raises Invalid."""
    if allowance not in set(Allowance):
        raise Invalid("allowance", f"Choose an allowance: {', '.join(Allowance)}.")
    chosen = sorted(set(percents))
    if len(chosen) > MOST_PERCENTS or not all(1 <= percent <= 1000 for percent in chosen):
        raise Invalid("percents", f"Write at most {MOST_PERCENTS} percentages from 1 to 1000.")
    organization = organizations.locked()
    before = Watch.objects.filter(allowance=allowance).values_list("percents", flat=True).first()
    watch, _ = Watch.objects.update_or_create(allowance=allowance, defaults={"percents": chosen})
    record(
        action=actions.WATCH_SET,
        actor=actor,
        target=organizations.target(organization),
        metadata={"allowance": allowance},
        changes=actions.WATCH_SET.changed({"percents": before}, {"percents": chosen}),
    )
    return watch


def dismiss(*, actor: Actor, notice_id: UUID) -> None:
    """Put a notice away; once is enough. Raises NotFound."""
    notice = Notice.objects.filter(pk=notice_id).first()
    if notice is None:
        raise NotFound("There is no such notice.")
    if notice.dismissed_at is None:
        notice.dismissed_at = timezone.now()
        notice.save(update_fields=["dismissed_at"])
        target = Target("notice", str(notice.pk), notice.sentence)
        record(action=actions.NOTICE_DISMISSED, actor=actor, target=target)


def _check_words(allowance: str, level: str, span: str, reaction: str) -> None:
    if allowance not in CAPPED:
        raise Invalid("allowance", f"Choose an allowance: {', '.join(sorted(CAPPED))}.")
    for name, word, words in (
        ("level", level, Level.values),
        ("span", span, Span.values),
        ("reaction", reaction, Reaction.values),
    ):
        if word not in words:
            raise Invalid(name, f"Choose one of: {', '.join(words)}.")
    if allowance in WHOLE and (level, span) != (Level.ORGANIZATION, Span.PERIOD):
        raise Invalid("level", "Stored bytes and end users have a cap for the whole organization, and not for a day.")


def ask_anew() -> None:
    """Let every process ask anew: keys bring the new stamp within a second, this process forgets at once."""
    organization_id = current_organization_id()
    Organization.objects.update(caps_version=F("caps_version") + 1)
    transaction.on_commit(lambda: leases.forget(organization_id))
