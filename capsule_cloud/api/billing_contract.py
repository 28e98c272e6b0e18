"""The contract of a customer: its terms, and where each step of its ramp stands."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.invoicing.models import CommitPaid
from billing.invoicing.selectors.standing import Standing, standing
from capsule_cloud.api.resource import Resource
from tenancy.errors import NotFound
from tenancy.roles import Right

MINOR = "In minor units of `currency`."


class StepAnswer(serializers.Serializer[Any]):
    """A step of the ramp: it costs what is used in it, or its commit where that is more."""

    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    commit = serializers.IntegerField(help_text=MINOR)
    billed = serializers.IntegerField(help_text=f"What invoices have counted towards the commit. {MINOR}")
    running = serializers.IntegerField(help_text=f"What the month under way comes to until now. {MINOR}")
    expected = serializers.IntegerField(help_text=f"What it comes to if use goes on as it did. {MINOR}")
    true_up = serializers.IntegerField(help_text=f"What its last invoice is expected to add. {MINOR}")


class ContractAnswer(serializers.Serializer[Any]):
    """The contract that runs, else the next one, else the last."""

    reference = serializers.CharField()
    state = serializers.ChoiceField(choices=["starts", "runs", "ended"])
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    plan = serializers.CharField()
    plan_version = serializers.IntegerField()
    currency = serializers.CharField()
    fee = serializers.IntegerField(help_text=f"The fixed price of a month. {MINOR}")
    seats = serializers.IntegerField()
    seat_price = serializers.IntegerField(help_text=f"A month for each seat above those included. {MINOR}")
    commit_paid = serializers.ChoiceField(choices=CommitPaid.choices)
    steps = StepAnswer(many=True)
    net_days = serializers.IntegerField(help_text="Days in which an invoice is to be paid.")
    po_number = serializers.CharField()
    contact = serializers.CharField(help_text="Whom of us to ask; may be blank.")
    followed_by = serializers.CharField(allow_null=True, help_text="The reference of the contract after it.")
    as_of = serializers.DateTimeField()


class ContractResource(Resource):
    """/v1/billing/contract"""

    rights = {"GET": Right.BILLING_READ}

    @extend_schema(operation_id="get_contract", responses=ContractAnswer)
    def get(self, request: Request) -> Response:
        """Get the contract, and where each step of its ramp stands. 404 where none was signed."""
        with self.scope(request):
            found = standing()
        if found is None:
            raise NotFound("There is no contract.")
        return Response(ContractAnswer(_shown(found)).data)


def _shown(found: Standing) -> dict[str, Any]:
    contract = found.contract
    names = ("reference", "starts_at", "ends_at", "currency", "fee", "commit_paid", "net_days", "po_number", "contact")
    return {name: getattr(contract, name) for name in names} | {
        "state": found.state,
        "plan": found.plan.key,
        "plan_version": found.plan.version,
        "seats": found.seats,
        "seat_price": found.plan.seat,
        "steps": [
            {
                "start": one.step.start,
                "end": one.step.end,
                "commit": one.step.commit,
                "billed": one.billed,
                "running": one.running,
                "expected": one.expected,
                "true_up": one.true_up,
            }
            for one in found.steps
        ],
        "followed_by": found.follows.reference if found.follows else None,
        "as_of": found.as_of,
    }
