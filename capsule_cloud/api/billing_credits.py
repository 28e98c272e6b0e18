"""Credits by programs: what is left, what moved, and buying more, by hand or by themselves."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from billing.credits import selectors as ledger
from billing.credits.models import AutoTopUp, TopUp, Transaction
from billing.credits.services import auto_top_ups, top_ups
from billing.plans import sold
from billing.selectors import subscriptions as agreed
from capsule_cloud.api import paging
from capsule_cloud.api.resource import Resource, paged, read_body
from tenancy.clock import here
from tenancy.roles import Right

MINOR = "In minor units of `currency`."
MOST_MONEY = 10**8  # minor units: what the pages allow, too


class GrantAnswer(serializers.Serializer[Any]):
    """A grant of credits that can be burned."""

    id = serializers.UUIDField()
    amount = serializers.IntegerField(help_text=MINOR)
    remaining = serializers.IntegerField(help_text=MINOR)
    priority = serializers.IntegerField()
    category = serializers.CharField()
    reason = serializers.CharField()
    expires_at = serializers.DateTimeField(allow_null=True)


class CreditsAnswer(serializers.Serializer[Any]):
    """What is left, and in which order it is burned."""

    currency = serializers.CharField()
    balance = serializers.IntegerField(help_text=MINOR)
    owed = serializers.IntegerField(help_text="Used of credits whose payment was returned: the next purchase pays it.")
    grants = GrantAnswer(many=True)


class CreditEntryAnswer(serializers.ModelSerializer[Transaction]):
    """A movement of credits."""

    class Meta:
        model = Transaction
        fields = ["id", "kind", "amount", "currency", "reason", "occurred_at"]


class TopUpAnswer(serializers.ModelSerializer[TopUp]):
    """A purchase of credits; one that is open is paid at `page_url`."""

    class Meta:
        model = TopUp
        fields = ["id", "amount", "currency", "state", "is_automatic", "page_url", "error", "requested_at"]


class NewTopUp(serializers.Serializer[Any]):
    """How much to buy, with the card on file."""

    amount = serializers.IntegerField(min_value=0, max_value=MOST_MONEY, help_text="In minor units.")


class AutoTopUpAnswer(serializers.ModelSerializer[AutoTopUp]):
    """When credits buy themselves; a failed payment stops it until it is set again."""

    class Meta:
        model = AutoTopUp
        fields = ["is_on", "threshold", "amount", "monthly_maximum", "currency", "stopped_at", "stop_reason"]


class AutoTopUpWish(serializers.Serializer[Any]):
    """When fewer than `threshold` are left buy `amount`, in a calendar month at most `monthly_maximum`: minor units."""

    is_on = serializers.BooleanField(default=True)
    threshold = serializers.IntegerField(min_value=0, max_value=MOST_MONEY)
    amount = serializers.IntegerField(min_value=0, max_value=MOST_MONEY)
    monthly_maximum = serializers.IntegerField(min_value=0, max_value=MOST_MONEY)


def _currency() -> str:
    account = agreed.account()
    return account.currency if account else sold()[0].currency


class CreditsResource(Resource):
    """/v1/billing/credits"""

    rights = {"GET": Right.BILLING_READ}

    @extend_schema(operation_id="get_credits", responses=CreditsAnswer)
    def get(self, request: Request) -> Response:
        """Get the balance of credits, and the grants in the order in which they are burned."""
        with self.scope(request):
            currency = _currency()
            grants = list(ledger.in_burn_order(currency, here()))
            owed = ledger.owed(currency)
        shown = [GrantAnswer(one).data for one in grants]
        balance = sum(one.remaining for one in grants)
        return Response({"currency": currency, "balance": balance, "owed": owed, "grants": shown})


class CreditEntriesResource(Resource):
    """/v1/billing/credits/entries"""

    rights = {"GET": Right.BILLING_READ}

    @extend_schema(operation_id="list_credit_entries", parameters=paging.PARAMETERS, responses=paged(CreditEntryAnswer))
    def get(self, request: Request) -> Response:
        """List every movement of credits, newest first."""
        limit, after = paging.limit_of(request), paging.cursor_of(request)
        with self.scope(request):
            rows = ledger.entries(after=after, limit=limit + 1)
        return Response(paging.answer(rows, limit, lambda row: row.pk, lambda row: CreditEntryAnswer(row).data))


class TopUpsResource(Resource):
    """/v1/billing/credits/top-ups"""

    rights = {"GET": Right.BILLING_READ, "POST": Right.BILLING_WRITE}

    @extend_schema(operation_id="list_top_ups", responses=TopUpAnswer(many=True))
    def get(self, request: Request) -> Response:
        """List the newest 50 purchases of credits."""
        with self.scope(request):
            return Response([TopUpAnswer(one).data for one in ledger.top_ups()])

    @extend_schema(operation_id="buy_credits", request=NewTopUp, responses={201: TopUpAnswer})
    def post(self, request: Request) -> Response:
        """Buy credits with the card on file. They are there as soon as it has paid, within seconds."""
        amount = read_body(NewTopUp, request)["amount"]
        with self.scope(request):
            wish = top_ups.request(actor=self.principal(request).actor, amount=amount, currency=_currency())
        return Response(TopUpAnswer(wish).data, status=status.HTTP_201_CREATED)


class AutoTopUpResource(Resource):
    """/v1/billing/credits/auto-top-up"""

    rights = {"GET": Right.BILLING_READ, "POST": Right.BILLING_WRITE}

    @extend_schema(operation_id="get_auto_top_up", responses=AutoTopUpAnswer)
    def get(self, request: Request) -> Response:
        """Get when credits buy themselves; zeros where nothing was ever chosen."""
        with self.scope(request):
            currency = _currency()
            chosen = ledger.auto_top_up(currency)
        nothing = AutoTopUp(currency=currency, is_on=False, threshold=0, amount=0, monthly_maximum=0)
        return Response(AutoTopUpAnswer(chosen or nothing).data)

    @extend_schema(operation_id="set_auto_top_up", request=AutoTopUpWish, responses={200: AutoTopUpAnswer})
    def post(self, request: Request) -> Response:
        """Choose when credits buy themselves. One that was stopped starts again."""
        wish = read_body(AutoTopUpWish, request)
        with self.scope(request):
            chosen = auto_top_ups.configure(actor=self.principal(request).actor, currency=_currency(), **wish)
        return Response(AutoTopUpAnswer(chosen).data)
