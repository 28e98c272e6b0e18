"""Makes one of every thing of billing that an address of the console can name."""

from datetime import UTC, datetime
from decimal import Decimal

from billing.invoicing.models import Invoice, InvoiceLine
from billing.metering.meters import Meter
from billing.plans import Allowance
from billing.quotas.models import Cap, Level, Notice, ParkedWrite, Span
from capsule_cloud.lib import crypto
from tenancy.scope import scope
from tests.factories import Tenant

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


def make_billing_things(tenant: Tenant) -> dict[str, str]:
    """Path parameters; called again, it makes again what was taken away."""
    with scope(tenant.organization):
        invoice, _ = Invoice.objects.get_or_create(
            period_start=START,
            defaults={"period_end": END, "source": Invoice.Source.STRIPE, "currency": "usd", "terms": {}},
        )
        line, _ = InvoiceLine.objects.get_or_create(
            invoice=invoice,  # a draft until it has its line
            place=1,
            defaults={
                "kind": InvoiceLine.Kind.PLAN,
                "period_start": START,
                "description": "Pro plan",
                "quantity": 1,
                "unit_price": Decimal(29_00),
                "amount": 29_00,
                "remainder": Decimal(0),
                "how": {},
            },
        )
        cap, _ = Cap.objects.get_or_create(
            allowance=Allowance.OPERATIONS,
            subject_id=tenant.organization.pk,
            defaults={"level": Level.ORGANIZATION, "amount": 100},
        )
        notice, _ = Notice.objects.get_or_create(
            kind=Notice.Kind.THRESHOLD,
            what=Allowance.OPERATIONS,
            subject_id=tenant.organization.pk,
            span=Span.PERIOD,
            starts_at=START,
            defaults={"limit": 100, "percent": 80, "used": 80, "sentence": "80 % of 100 operations are used."},
        )
        write, _ = ParkedWrite.objects.get_or_create(
            number=1,
            defaults={
                "project_id": tenant.project.pk,
                "kind": ParkedWrite.Kind.PIN,
                "meter": Meter.WRITE,
                "quantity": 1,
                "actor": {"kind": "user", "id": "", "label": ""},
                "sealed_body": crypto.seal(b'{"capsule_id":"gone","is_pinned":true}'),
                "state": ParkedWrite.State.FAILED,
                "error": "There is no such capsule.",
            },
        )
        Invoice.objects.filter(state=Invoice.State.DRAFT).update(state=Invoice.State.OPEN, watermark="10:10:")
    made = {"invoice_id": invoice, "line_id": line, "cap_id": cap, "notice_id": notice, "write_id": write}
    return {name: str(thing.pk) for name, thing in made.items()}
