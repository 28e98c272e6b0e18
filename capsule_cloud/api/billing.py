"""Money, read by programs: where the period stands, and the plans that are sold."""

from dataclasses import asdict
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.credits import selectors as ledger
from billing.models import Subscription
from billing.plans import Allowance, Included, Plan, sold
from billing.quotas import parking
from billing.quotas import selectors as quotas
from billing.quotas.forecasts import forecast
from billing.selectors import subscriptions as agreed
from billing.selectors.dunning import banner
from billing.selectors.so_far import next_invoice, so_far
from capsule_cloud.api.resource import Resource
from tenancy.roles import Right

MINOR = "In minor units of `currency`."


class AllowanceAnswer(serializers.Serializer[Any]):
    """One allowance in the period under way; `used` is null before the first daily sample."""

    allowance = serializers.ChoiceField(choices=[one.value for one in Allowance])
    used = serializers.IntegerField(allow_null=True)
    included = serializers.IntegerField()
    overage = serializers.CharField(allow_null=True, help_text="Of one more, in minor units; null: a hard cap.")
    cost = serializers.IntegerField(help_text=f"Of what is not included, so far. {MINOR}")


class ForecastAnswer(serializers.Serializer[Any]):
    """What memory operations come to at the period's end; four of five times between `low` and `high`."""

    used = serializers.IntegerField()
    expected = serializers.IntegerField()
    low = serializers.IntegerField()
    high = serializers.IntegerField()
    reaches_included_at = serializers.DateTimeField(allow_null=True)


class NextInvoiceAnswer(serializers.Serializer[Any]):
    """What the next invoice comes to as things stand, without tax and credits."""

    amount = serializers.IntegerField(help_text=MINOR)
    at = serializers.DateTimeField()


class OwedAnswer(serializers.Serializer[Any]):
    """A sum that is open."""

    amount = serializers.IntegerField(help_text=MINOR)
    currency = serializers.CharField()


class PaymentDueAnswer(serializers.Serializer[Any]):
    """What an unpaid invoice means: what has stopped, what stops next and when, and where to pay."""

    state = serializers.CharField(help_text="past_due, restricted, suspended or cancelled.")
    title = serializers.CharField()
    sentence = serializers.CharField()
    owed = OwedAnswer(many=True)
    pay_url = serializers.CharField(allow_blank=True)
    changes_at = serializers.DateTimeField(allow_null=True)


class ParkedAnswer(serializers.Serializer[Any]):
    """Writes that wait for a cap to lift."""

    waiting = serializers.IntegerField()
    failed = serializers.IntegerField()
    oldest_at = serializers.DateTimeField(allow_null=True)
    writes = serializers.IntegerField(help_text="Kept: waiting, or set aside because they could not be applied.")
    bytes = serializers.IntegerField(help_text="What they take.")
    most_writes = serializers.IntegerField(help_text="As many are kept; beyond that the answer is 402 parking_full.")
    most_bytes = serializers.IntegerField()


class GrantedAnswer(serializers.Serializer[Any]):
    """Something that is granted beside the plan, for a while."""

    key = serializers.CharField()
    value = serializers.JSONField()
    reason = serializers.CharField()
    expires_at = serializers.DateTimeField(allow_null=True)


class BillingAnswer(serializers.Serializer[Any]):
    """Where the organization stands: its plan, the period under way and what that has cost."""

    plan = serializers.CharField()
    plan_version = serializers.IntegerField()
    basis = serializers.CharField(help_text="What the plan rests on: free, stripe, contract or manual.")
    status = serializers.CharField(allow_null=True, help_text="Stripe's word for the subscription; null on free.")
    interval = serializers.CharField(allow_null=True)
    seats = serializers.IntegerField(allow_null=True)
    cancel_at = serializers.DateTimeField(allow_null=True)
    trial_end = serializers.DateTimeField(allow_null=True)
    scheduled_plan = serializers.CharField(allow_null=True)
    scheduled_at = serializers.DateTimeField(allow_null=True)
    access = serializers.CharField(help_text="full, read_only or suspended.")
    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField()
    currency = serializers.CharField()
    allowances = AllowanceAnswer(many=True)
    overage = serializers.IntegerField(help_text=f"Of all allowances, so far. {MINOR}")
    next_invoice = NextInvoiceAnswer(allow_null=True)
    payment_due = PaymentDueAnswer(allow_null=True, help_text="Null while nothing is overdue.")
    parked = ParkedAnswer()
    granted = GrantedAnswer(many=True)
    has_payment_method = serializers.BooleanField()
    forecast = ForecastAnswer()
    credits = serializers.IntegerField(help_text=f"What is left of them. {MINOR}")
    is_sandbox = serializers.BooleanField(help_text="Whether payments are simulated: no money moves.")
    as_of = serializers.DateTimeField()


class IncludedAnswer(serializers.Serializer[Any]):
    """What a period includes, and what one more costs in minor units (null: there is no more)."""

    quantity = serializers.IntegerField()
    overage = serializers.CharField(allow_null=True)


class PlanAnswer(serializers.Serializer[Any]):
    """A plan as it is sold today."""

    key = serializers.CharField()
    version = serializers.IntegerField()
    name = serializers.CharField()
    currency = serializers.CharField()
    monthly = serializers.IntegerField(help_text=MINOR)
    yearly = serializers.IntegerField(help_text=MINOR)
    seat = serializers.IntegerField(help_text=f"A month for each seat above those included. {MINOR}")
    trial_days = serializers.IntegerField()
    included = serializers.DictField(child=IncludedAnswer())
    limits = serializers.DictField(child=serializers.IntegerField())
    features = serializers.ListField(child=serializers.CharField())


class BillingResource(Resource):
    """/v1/billing"""

    rights = {"GET": Right.BILLING_READ}

    @extend_schema(operation_id="get_billing", responses=BillingAnswer)
    def get(self, request: Request) -> Response:
        """Get the plan, the period under way, what it has cost and where it leads."""
        with self.scope(request):
            standing, live = so_far(), agreed.live()
            entitled, currency = standing.entitled, standing.entitled.plan.currency
            limit = entitled.allowances[Allowance.OPERATIONS].quantity
            foretold = forecast(Allowance.OPERATIONS, limit=limit)
            credits_left = ledger.balance(currency)
            upcoming, due, parked = next_invoice(standing, live), banner(), quotas.parked()
            account = agreed.account()
        return Response(
            {
                "plan": entitled.plan.key,
                "plan_version": entitled.plan.version,
                "basis": entitled.source,
                **_agreed(live),
                "access": self.principal(request).access,
                "period_start": standing.starts_at,
                "period_end": standing.ends_at,
                "currency": currency,
                "allowances": [
                    {
                        "allowance": one.allowance.value,
                        "used": one.used,
                        "included": one.included.quantity,
                        "overage": _overage(one.included),
                        "cost": one.cost.amount,
                    }
                    for one in standing.allowances
                ],
                "overage": standing.overage.amount,
                "next_invoice": upcoming and {"amount": upcoming[0].amount, "at": upcoming[1]},
                "payment_due": due and PaymentDueAnswer(due).data,
                "parked": ParkedAnswer(
                    {**asdict(parked), "most_writes": parking.MOST_WRITES, "most_bytes": parking.MOST_BYTES}
                ).data,
                "granted": [GrantedAnswer(one).data for one in entitled.overrides],
                "has_payment_method": account is not None and account.has_payment_method,
                "forecast": {
                    "used": foretold.used,
                    "expected": foretold.expected,
                    "low": foretold.low,
                    "high": foretold.high,
                    "reaches_included_at": foretold.reaches_at,
                },
                "credits": credits_left,
                "is_sandbox": settings.STRIPE_SANDBOX,
                "as_of": standing.as_of,
            }
        )


def _agreed(live: Subscription | None) -> dict[str, Any]:
    names = ("status", "interval", "seats", "cancel_at", "trial_end", "scheduled_at")
    found = {name: getattr(live, name, None) for name in names}
    return found | {"scheduled_plan": (live.scheduled_plan_key or None) if live else None}


def _overage(included: Included) -> str | None:
    return None if included.overage is None else f"{included.overage:f}"


class PlansResource(Resource):
    """/v1/billing/plans"""

    rights = {"GET": Right.BILLING_READ}

    @extend_schema(operation_id="list_plans", responses=PlanAnswer(many=True))
    def get(self, request: Request) -> Response:
        """List the plans that are sold today."""
        return Response([_plan(one) for one in sold()])


def _plan(one: Plan) -> dict[str, Any]:
    names = ("key", "version", "name", "currency", "monthly", "yearly", "seat", "trial_days")
    return {name: getattr(one, name) for name in names} | {
        "included": {
            allowance.value: {"quantity": of.quantity, "overage": _overage(of)}
            for allowance, of in one.allowances.items()
        },
        "limits": dict(one.limits),
        "features": sorted(one.features),
    }
