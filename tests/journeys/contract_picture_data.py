"""A customer with a contract for the pictures: a ramp under way, what was used, and invoices by transfer."""

import random
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from django.utils import timezone

from billing.invoicing.models import Invoice
from billing.invoicing.services import Offer, close_due, mark_paid, sign_contract
from billing.metering import ids
from billing.metering.meters import Meter
from billing.metering.models import UsageEvent
from billing.money import month_after
from billing.plans import Allowance, Included
from billing.services.accounts import Details, set_details
from tenancy.audit.services import Actor
from tenancy.models import Organization, Project, User
from tenancy.scope import scope
from tenancy.services import organizations
from tests.journeys.picture_data import person

MONTHS, RUNNING_FOR = 4, timedelta(days=17)  # four months are over, the fifth is under way
STAFF = Actor("staff", "0", "sam@capsule.example")
# Operations a month in millions: it grows, as ramps expect
GROWTH = (21, 26, 31, 37, 24)


def agree(seed: str) -> tuple[User, Organization]:
    """The owner and the organization, with its contract lived through until now; `seed` keeps runs apart."""
    owner = person(f"ingrid-{seed}@halden.example", "Ingrid Halvorsen")
    organization = organizations.create(user=owner, name="Halden Robotics")
    start = month_after(timezone.now().replace(minute=0, second=0, microsecond=0) - RUNNING_FOR, -MONTHS)
    offer = Offer(
        reference="HALDEN-2026",
        plan_key="enterprise",
        starts_at=start,
        steps=[(3, 15_000_00), (9, 90_000_00)],
        fee=1_500_00,
        seats=140,
        seat_price=5_50,
        allowances={Allowance.OPERATIONS: Included(20_000_000, Decimal("0.04"))},
        po_number="PO 4711",
        contact="Sam Ekholm, sam@capsule.example",
    )
    with scope(organization):
        project = Project.objects.get()
        sign_contract(actor=STAFF, offer=offer, now=start)
        _use(project, start)
    set_details(
        organization_id=organization.pk,
        actor=Actor("user", str(owner.pk), owner.email),
        details=Details(legal_name="Halden Robotics AS", invoice_emails=["ap@halden.example"], po_number="PO 4711"),
    )
    for month in range(1, MONTHS + 1):
        close_due(now=month_after(start, month) + timedelta(days=1, hours=2), only=organization.pk)
    with scope(organization):
        *over, _ = Invoice.objects.filter(state=Invoice.State.OPEN).order_by("number")
        for invoice in over:
            mark_paid(actor=STAFF, invoice_id=invoice.pk, reference="SEPA 20261004-17")
    return owner, organization


def _use(project: Project, start: datetime) -> None:
    chance = random.Random(11)  # a picture needs no secret
    events = []
    for month, millions in enumerate(GROWTH):
        for day in range(28 if month < MONTHS else RUNNING_FOR.days):
            at = month_after(start, month) + timedelta(days=day, hours=9)
            for meter, share in ((Meter.RECALL, 0.7), (Meter.INGEST, 0.3)):
                events.append(
                    UsageEvent(
                        id=UUID(int=ids.first(at).int | 7 << 76 | 2 << 62 | uuid4().int & (1 << 62) - 1),
                        project_id=project.pk,
                        meter=meter,
                        quantity=round(millions * 1_000_000 / 28 * share * chance.uniform(0.8, 1.2)),
                        end_user="fleet",
                        occurred_at=at,
                    )
                )
    UsageEvent.objects.bulk_create(events)
