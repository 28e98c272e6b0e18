"""Changes of plan by programs: what one costs before it is made, making it, and the way back."""

from typing import Any

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from billing.plans import Interval, sold
from billing.services import changes, subscriptions, time_machine
from billing.services.prices import MOST_SEATS
from billing.services.time_machine import LEAPS
from capsule_cloud.api.resource import Resource, read_body
from tenancy import selectors
from tenancy.roles import Right


class Wish(serializers.Serializer[Any]):
    """A plan, how often it is paid, and for how many people (0: as many as are included)."""

    plan = serializers.ChoiceField(choices=[one.key for one in sold()])
    interval = serializers.ChoiceField(choices=[one.value for one in Interval], default=Interval.MONTHLY.value)
    seats = serializers.IntegerField(min_value=0, max_value=MOST_SEATS, default=0)


class TrialWish(serializers.Serializer[Any]):
    """A plan to try. Without a card it simply ends."""

    plan = serializers.ChoiceField(choices=[one.key for one in sold()])


class PromotionCode(serializers.Serializer[Any]):
    """A code as it was handed out."""

    code = serializers.CharField(max_length=100)


class Leap(serializers.Serializer[Any]):
    """How many days are to pass."""

    days = serializers.ChoiceField(choices=list(LEAPS))


class Later(serializers.Serializer[Any]):
    """A smaller plan, for when the period ends; `free` ends the subscription then."""

    plan = serializers.ChoiceField(choices=[one.key for one in sold()])
    interval = serializers.ChoiceField(choices=[one.value for one in Interval], default=Interval.MONTHLY.value)


class Confirmation(serializers.Serializer[Any]):
    """The token of a preview, at most 15 minutes old."""

    token = serializers.CharField(max_length=2_000)


class AddressAnswer(serializers.Serializer[Any]):
    """A page to open in a browser."""

    url = serializers.CharField()


class PreviewLineAnswer(serializers.Serializer[Any]):
    """A line of the invoice to come."""

    description = serializers.CharField()
    amount = serializers.IntegerField(help_text="In minor units; negative where money comes back.")


class PreviewAnswer(serializers.Serializer[Any]):
    """What a change costs, in minor units. Confirming `token` within 15 minutes charges exactly `due_now`."""

    lines = PreviewLineAnswer(many=True)
    currency = serializers.CharField()
    due_now = serializers.IntegerField()
    credit = serializers.IntegerField(help_text="What is left over for later invoices.")
    next_invoice = serializers.IntegerField(help_text="The fixed part of the next regular invoice.")
    token = serializers.CharField()


class PlanResource(Resource):
    """The base of what asks Stripe: an answer is kept for an `Idempotency-Key` without an open transaction."""

    rights = {"POST": Right.BILLING_WRITE}
    calls_out = True

    def _who(self, request: Request) -> dict[str, Any]:
        principal = self.principal(request)
        return {"organization_id": principal.organization_id, "actor": principal.actor}

    def _page(self, request: Request) -> str:
        """Our page about the plan, where Stripe's pages lead back to."""
        with self.scope(request):
            slug = selectors.organization().slug
        return f"{settings.PUBLIC_URL}{reverse('billing_plan', kwargs={'slug': slug})}"


class CheckoutResource(PlanResource):
    """/v1/billing/checkout"""

    @extend_schema(operation_id="create_checkout", request=Wish, responses={201: AddressAnswer})
    def post(self, request: Request) -> Response:
        """Buy a first plan: get the page where it is paid."""
        wish = read_body(Wish, request)
        url = subscriptions.checkout(
            **self._who(request),
            plan_key=wish["plan"],
            interval=wish["interval"],
            seats=wish["seats"],
            return_url=self._page(request),
        )
        return Response({"url": url}, status=status.HTTP_201_CREATED)


class PortalResource(PlanResource):
    """/v1/billing/portal"""

    @extend_schema(operation_id="create_portal", request=None, responses={201: AddressAnswer})
    def post(self, request: Request) -> Response:
        """Get the page for cards, addresses, tax ids and invoices."""
        url = subscriptions.portal(**self._who(request), return_url=self._page(request))
        return Response({"url": url}, status=status.HTTP_201_CREATED)


class PreviewResource(PlanResource):
    """/v1/billing/preview"""

    @extend_schema(operation_id="preview_change", request=Wish, responses={200: PreviewAnswer})
    def post(self, request: Request) -> Response:
        """See to the cent what changing now to a plan would cost; nothing is changed."""
        wish = read_body(Wish, request)
        preview = changes.preview_change(
            organization_id=self.principal(request).organization_id,
            plan_key=wish["plan"],
            interval=wish["interval"],
            seats=wish["seats"],
        )
        return Response(PreviewAnswer(preview).data)


class ChangeResource(PlanResource):
    """/v1/billing/change"""

    @extend_schema(operation_id="apply_change", request=Confirmation, responses={204: None})
    def post(self, request: Request) -> Response:
        """Make the previewed change. The same token again does nothing more."""
        changes.apply_change(**self._who(request), token=read_body(Confirmation, request)["token"])
        return Response(status=status.HTTP_204_NO_CONTENT)


class DowngradeResource(PlanResource):
    """/v1/billing/downgrade"""

    rights = {"POST": Right.BILLING_WRITE, "DELETE": Right.BILLING_WRITE}

    @extend_schema(operation_id="schedule_downgrade", request=Later, responses={204: None})
    def post(self, request: Request) -> Response:
        """Go to a smaller plan when the period ends. Refused with reasons while more is in use than it has."""
        later = read_body(Later, request)
        subscriptions.schedule_downgrade(**self._who(request), plan_key=later["plan"], interval=later["interval"])
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(operation_id="cancel_downgrade", responses={204: None})
    def delete(self, request: Request) -> Response:
        """Take a scheduled change back."""
        subscriptions.cancel_schedule(**self._who(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class CancelResource(PlanResource):
    """/v1/billing/cancel"""

    @extend_schema(operation_id="cancel_subscription", request=None, responses={204: None})
    def post(self, request: Request) -> Response:
        """End the subscription when its period does."""
        subscriptions.cancel(**self._who(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class ResumeResource(PlanResource):
    """/v1/billing/resume"""

    @extend_schema(operation_id="resume_subscription", request=None, responses={204: None})
    def post(self, request: Request) -> Response:
        """Take a cancellation back before it comes."""
        subscriptions.resume(**self._who(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class TrialResource(PlanResource):
    """/v1/billing/trial"""

    @extend_schema(operation_id="start_trial", request=TrialWish, responses={204: None})
    def post(self, request: Request) -> Response:
        """Try a plan without a card, once."""
        subscriptions.start_trial(**self._who(request), plan_key=read_body(TrialWish, request)["plan"])
        return Response(status=status.HTTP_204_NO_CONTENT)


class PromotionCodeResource(PlanResource):
    """/v1/billing/promotion-code"""

    @extend_schema(operation_id="redeem_promotion_code", request=PromotionCode, responses={204: None})
    def post(self, request: Request) -> Response:
        """Put a promotion code on the subscription; it counts from the next invoice on."""
        subscriptions.redeem(**self._who(request), code=read_body(PromotionCode, request)["code"])
        return Response(status=status.HTTP_204_NO_CONTENT)


class TimeMachineResource(PlanResource):
    """/v1/billing/sandbox/advance"""

    @extend_schema(operation_id="advance_sandbox", request=Leap, responses={204: None})
    def post(self, request: Request) -> Response:
        """Let days pass in the billing sandbox. Not found where money really moves."""
        time_machine.advance(**self._who(request), days=read_body(Leap, request)["days"])
        return Response(status=status.HTTP_204_NO_CONTENT)
