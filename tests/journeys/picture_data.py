"""The organization that the pictures show: people, projects, keys, conversations and a month of usage."""

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from allauth.account.models import EmailAddress
from django.utils import timezone

from billing.metering.models import UsageHour
from capsule_cloud.memory.services import capsules, sessions
from tenancy.audit.services import Actor
from tenancy.models import ApiKey, Membership, Organization, Project, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import invitations, keys, organizations, projects

DAYS = 30
# Calls on an ordinary day, by project and meter.
ORDINARY_DAY = {
    "support": {"ingest": 820, "recall": 640, "seal": 90, "read": 210},
    "coach": {"ingest": 310, "recall": 420, "seal": 35, "read": 60, "export": 4},
}


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said, and what the host's model took out of it."""

    project: str
    user: str
    title: str
    tags: tuple[str, ...]
    turns: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str, str], ...]
    summary: str


CONVERSATIONS = (
    Conversation(
        "support",
        "dana@acme.example",
        "Release habits of the platform team",
        ("release", "platform"),
        (
            (
                "We ship on Tuesdays, never on Fridays. And staging runs on PostgreSQL 16.",
                "Noted: you ship on Tuesdays, staging is on PostgreSQL 16. I will plan the migration for it.",
            ),
            (
                "If the error rate goes over 2 % we roll back at once, without asking.",
                "Understood: above 2 % errors the release is rolled back immediately.",
            ),
        ),
        (
            ("release.day", "They ship on Tuesdays, never on Fridays", "project_info"),
            ("staging.database", "PostgreSQL 16", "constraint"),
            ("release.rollback", "At once when the error rate passes 2 %", "project_info"),
        ),
        "Dana's platform team ships on Tuesdays, tests against PostgreSQL 16 and rolls back above 2 % errors.",
    ),
    Conversation(
        "support",
        "dana@acme.example",
        "Webhook retries after the March incident",
        ("webhooks", "incident"),
        (
            (
                "Our endpoint was down for an hour and we lost events.",
                "Deliveries are retried six times over five hours; the lost ones can be sent again from the log.",
            ),
        ),
        (
            ("incident.march", "Endpoint down for an hour, events lost", "project_info"),
            ("webhooks.retries", "Six attempts over five hours", "constraint"),
        ),
        "An outage in March lost webhook events; they now rely on six retries over five hours.",
    ),
    Conversation(
        "support",
        "miguel@globex.example",
        "Invoices go to the Lisbon office",
        ("billing",),
        (
            (
                "Please send invoices to our Lisbon office and quote the purchase order.",
                "From now on invoices go to Lisbon with the purchase order number on them.",
            ),
        ),
        (
            ("billing.office", "Lisbon", "user_preference"),
            ("billing.reference", "The purchase order number must be on every invoice", "user_preference"),
        ),
        "Globex wants invoices sent to Lisbon, with the purchase order number.",
    ),
    Conversation(
        "support",
        "yuki@initech.example",
        "請求書は日本語で",
        ("billing", "language"),
        (("請求書は日本語でお願いします。", "承知しました。今後の請求書は日本語でお送りします。"),),
        (("billing.language", "請求書は日本語", "user_preference"),),
        "Initech のゆきさんは請求書を日本語で希望しています。",
    ),
    Conversation(
        "support",
        "priya@umbrella.example",
        "Rate limits during the nightly import",
        ("limits", "import"),
        (
            (
                "At 02:00 UTC we push forty thousand rows and get 429.",
                "Spread the import over ten minutes, or ask for a key with a limit of its own.",
            ),
        ),
        (
            ("import.window", "02:00 UTC, forty thousand rows", "constraint"),
            ("import.advice", "Spread over ten minutes", "constraint"),
        ),
        "Umbrella's nightly import runs into rate limits; it should be spread over ten minutes.",
    ),
    Conversation(
        "support",
        "dana@acme.example",
        "Release habits after the summer",
        ("release", "platform"),
        (
            (
                "From now on we ship on Tuesdays and Thursdays, and staging moved to PostgreSQL 18.",
                "Noted: Tuesdays and Thursdays, and PostgreSQL 18 on staging.",
            ),
        ),
        (
            ("release.day", "They ship on Tuesdays and Thursdays, never on Fridays", "project_info"),
            ("staging.database", "PostgreSQL 18", "constraint"),
            ("release.rollback", "At once when the error rate passes 2 %", "project_info"),
            ("release.announcement", "On the status page, an hour before", "project_info"),
        ),
        "Dana's platform team ships on Tuesdays and Thursdays, tests against PostgreSQL 18 and rolls back above 2 % "
        "errors.",
    ),
    Conversation(
        "coach",
        "user-4711",
        "Training for the autumn half marathon",
        ("running", "plan"),
        (
            (
                "I run three times a week and my left knee hurts after long runs.",
                "Then the long run stays below 14 km this month, and Wednesdays are for strength.",
            ),
            (
                "The race is on 4 October in Porto.",
                "Eighteen weeks to Porto: I will plan backwards from there.",
            ),
        ),
        (
            ("goal.race", "Half marathon in Porto on 4 October", "user_preference"),
            ("health.knee", "Left knee hurts after long runs", "user_preference"),
            ("plan.long_run", "Below 14 km this month", "project_info"),
        ),
        "A runner with a sensitive left knee trains three times a week for Porto on 4 October.",
    ),
    Conversation(
        "coach",
        "user-4712",
        "Vegetarian, and allergic to walnuts",
        ("nutrition",),
        (
            (
                "I am vegetarian and allergic to walnuts.",
                "No meat, no fish, no walnuts: every recipe I suggest will keep to that.",
            ),
        ),
        (
            ("diet", "Vegetarian", "user_preference"),
            ("allergy", "Walnuts", "user_preference"),
        ),
        "Vegetarian with a walnut allergy.",
    ),
)
OPEN_CONVERSATION = (
    (
        "How do I rotate our key without downtime?",
        "1. Open API keys and choose Rotate.\n2. Choose an overlap of 24 hours.\n3. Deploy the new key.",
    ),
    ("Perfect, remember this procedure for the whole team.", "I will keep it as a procedure: rotate with an overlap."),
)


def make(seed: str) -> tuple[User, Organization]:
    """The owner and the organization, made by the real services; `seed` keeps runs apart."""
    owner = person(f"ada-{seed}@northwind.example", "Ada Lindqvist")
    organization = organizations.create(user=owner, name="Northwind Labs")
    actor = Actor("user", str(owner.pk), owner.email)
    with scope(organization):
        first = Project.objects.get()
        support = projects.update(actor=actor, project_id=first.pk, name="Support assistant")
        coach = projects.create(actor=actor, name="Fitness coach")
        places = {"support": support, "coach": coach}
        maker = keys.Maker(actor, user=owner, role=Role.OWNER)
        made = {
            name: keys.create(
                maker=maker,
                project_id=place.pk,
                name=f"{place.name} in production",
                scopes=["memory:read", "memory:write"],
            ).key
            for name, place in places.items()
        }
        expiry = timezone.now() + timedelta(days=30)
        keys.create(maker=maker, project_id=support.pk, name="Laptop", scopes=["memory:read"], expires_at=expiry)
        ApiKey.objects.filter(pk=made["support"].pk).update(last_used_at=timezone.now() - timedelta(minutes=2))
        for name, role in (("Ben Okafor", Role.ADMIN), ("Chloe Martin", Role.MEMBER), ("Kenji Sato", Role.VIEWER)):
            mate = person(f"{name.split()[0].lower()}-{seed}@northwind.example", name)
            Membership.objects.create(user=mate, role=role)
        invitations.create(actor=actor, actor_role=Role.OWNER, email=f"lena-{seed}@northwind.example", role=Role.MEMBER)
        _usage(places, made)
    for number, conversation in enumerate(CONVERSATIONS):
        place = places[conversation.project]
        _talk(organization, place, made[conversation.project], f"chat-{1040 + number}", conversation)
    sessions.ingest(
        organization_id=organization.pk,
        project_id=support.pk,
        session_id="chat-1052",
        user_id="dana@acme.example",
        turns=[sessions.TurnPair(*pair) for pair in OPEN_CONVERSATION],
        actor=_key_actor(made["support"]),
    )
    return owner, organization


def _talk(organization: Organization, project: Project, key: ApiKey, session_id: str, said: Conversation) -> None:
    actor = _key_actor(key)
    sessions.ingest(
        organization_id=organization.pk,
        project_id=project.pk,
        session_id=session_id,
        user_id=said.user,
        turns=[sessions.TurnPair(*pair) for pair in said.turns],
        actor=actor,
    )
    facts: list[dict[str, Any]] = [
        {"key": key_, "value": value, "category": category, "confidence": 0.93} for key_, value, category in said.facts
    ]
    with scope(organization):
        sealed = sessions.seal(
            project_id=project.pk,
            session_id=session_id,
            title=said.title,
            tags=list(said.tags),
            facts=facts,
            summary=said.summary,
            actor=actor,
        )
        if "release" in said.tags:
            capsules.set_pinned(project_id=project.pk, capsule_id=sealed.capsule_id, is_pinned=True, actor=actor)


def _usage(places: dict[str, Project], made: dict[str, ApiKey]) -> None:
    # a month cannot be lived through while the camera waits: the roll-up's rows are written as it would have
    chance = random.Random(7)  # a picture needs no secret
    today = timezone.now().replace(hour=9, minute=0, second=0, microsecond=0)
    rows = []
    for back in range(DAYS):
        hour = today - timedelta(days=back)
        weight = (0.35 if hour.weekday() >= 5 else 1.0) * (1.25 - back / 60) * chance.uniform(0.8, 1.2)
        for name, meters in ORDINARY_DAY.items():
            for meter, ordinary in meters.items():
                quantity = max(1, round(ordinary * weight))
                rows.append(
                    UsageHour(
                        organization_id=places[name].organization_id,
                        project_id=places[name].pk,
                        key_id=made[name].pk,
                        meter=meter,
                        hour=hour,
                        quantity=quantity,
                        events=quantity,
                    )
                )
    UsageHour.objects.bulk_create(rows)


def person(email: str, name: str) -> User:
    """Somebody with a confirmed address."""
    user = User.objects.create_user(email, name=name)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


def _key_actor(key: ApiKey) -> Actor:
    return Actor("api_key", str(key.pk), f"{key.name} ({key.hint}…)")
