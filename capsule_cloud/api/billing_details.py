"""Whom invoices name, by programs: the address, tax ids, cards, which people are paid for, and what seats cost."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from billing.models import BillingAccount, SeatPolicy
from billing.selectors import subscriptions as agreed
from billing.services import accounts, seats
from billing.services.accounts import ADDRESS_LENGTHS, MOST_EMAILS, Details
from billing.services.cards import cards
from billing.services.prices import MOST_SEATS
from capsule_cloud.api.billing_plan import Confirmation, PlanResource
from capsule_cloud.api.resource import read_body, read_query
from tenancy.roles import Right


class AddressShape(serializers.Serializer[Any]):
    """A postal address; `country` is ISO 3166's two letters."""

    line1 = serializers.CharField(required=False, allow_blank=True, max_length=ADDRESS_LENGTHS["line1"])
    line2 = serializers.CharField(required=False, allow_blank=True, max_length=ADDRESS_LENGTHS["line2"])
    city = serializers.CharField(required=False, allow_blank=True, max_length=ADDRESS_LENGTHS["city"])
    state = serializers.CharField(required=False, allow_blank=True, max_length=ADDRESS_LENGTHS["state"])
    postal_code = serializers.CharField(required=False, allow_blank=True, max_length=ADDRESS_LENGTHS["postal_code"])
    country = serializers.RegexField(r"^([A-Z]{2})?$", required=False, allow_blank=True)


class TaxIdAnswer(serializers.Serializer[Any]):
    """A tax id on invoices, and what Stripe's check of it says."""

    id = serializers.CharField()
    type = serializers.CharField()
    value = serializers.CharField()
    status = serializers.CharField()


class DetailsAnswer(serializers.Serializer[Any]):
    """What invoices say about the customer, who gets them, and which people are paid for."""

    legal_name = serializers.CharField(allow_blank=True)
    invoice_emails = serializers.ListField(child=serializers.CharField())
    po_number = serializers.CharField(allow_blank=True)
    address = serializers.DictField(child=serializers.CharField())
    tax_ids = TaxIdAnswer(many=True)
    seat_policy = serializers.ChoiceField(choices=SeatPolicy.values)
    has_payment_method = serializers.BooleanField()


class DetailsChange(serializers.Serializer[Any]):
    """What to change; what is left out stays. An address replaces the whole of the one before."""

    legal_name = serializers.CharField(required=False, allow_blank=True, max_length=200)
    invoice_emails = serializers.ListField(
        child=serializers.EmailField(), required=False, max_length=MOST_EMAILS, allow_empty=True
    )
    po_number = serializers.CharField(required=False, allow_blank=True, max_length=30)
    address = AddressShape(required=False)


class NewTaxId(serializers.Serializer[Any]):
    """A tax id in Stripe's words, such as `eu_vat` and `SE556677889901`."""

    type = serializers.RegexField(r"^[a-z0-9_]{2,40}$")
    value = serializers.CharField(max_length=60)


class CardAnswer(serializers.Serializer[Any]):
    """A card on file; `is_used` is the one that invoices are paid with."""

    brand = serializers.CharField()
    last4 = serializers.CharField()
    expires_month = serializers.IntegerField()
    expires_year = serializers.IntegerField()
    is_used = serializers.BooleanField()


class SeatsQuery(serializers.Serializer[Any]):
    """For how many people."""

    seats = serializers.IntegerField(
        min_value=1, max_value=MOST_SEATS, required=False, help_text="Default: one more than now."
    )


class SeatsAnswer(serializers.Serializer[Any]):
    """What so many seats cost, in minor units without tax: exactly this, when `token` is confirmed in 15 minutes."""

    seats = serializers.IntegerField()
    added = serializers.IntegerField(help_text="How many of them are not paid for in this period yet.")
    charge = serializers.IntegerField(help_text="What they add to the next invoice.")
    line = serializers.IntegerField(help_text="What all seats added in the period come to there.")
    monthly = serializers.IntegerField(help_text="What seats cost a month from `until` on.")
    currency = serializers.CharField()
    until = serializers.DateTimeField()
    policy = serializers.CharField(help_text="With another than `named` seats follow the members by themselves.")
    token = serializers.CharField()


class SeatPolicyChange(serializers.Serializer[Any]):
    """Which people are paid for: every member, those who signed in, or the most at once."""

    policy = serializers.ChoiceField(choices=SeatPolicy.values)


class DetailsResource(PlanResource):
    """/v1/billing/details"""

    rights = {"GET": Right.BILLING_READ, "PATCH": Right.BILLING_WRITE}

    @extend_schema(operation_id="get_billing_details", responses=DetailsAnswer)
    def get(self, request: Request) -> Response:
        """Get what invoices say about the customer, and who gets them."""
        return Response(DetailsAnswer(self._account(request)).data)

    @extend_schema(operation_id="change_billing_details", request=DetailsChange, responses=DetailsAnswer)
    def patch(self, request: Request) -> Response:
        """Change them; invoices from now on say so."""
        known, wish = self._account(request), read_body(DetailsChange, request)
        names = ("legal_name", "invoice_emails", "po_number", "address")
        values = {name: getattr(known, name) for name in names} | wish
        accounts.set_details(**self._who(request), details=Details(**values))
        return Response(DetailsAnswer(self._account(request)).data)

    def _account(self, request: Request) -> BillingAccount:
        with self.scope(request):
            return agreed.account() or BillingAccount()


class TaxIdsResource(PlanResource):
    """/v1/billing/tax-ids"""

    @extend_schema(operation_id="add_tax_id", request=NewTaxId, responses={204: None})
    def post(self, request: Request) -> Response:
        """Add a tax id to invoices; Stripe checks it."""
        wish = read_body(NewTaxId, request)
        accounts.add_tax_id(**self._who(request), kind=wish["type"], value=wish["value"])
        return Response(status=status.HTTP_204_NO_CONTENT)


class TaxIdResource(PlanResource):
    """/v1/billing/tax-ids/{tax_id}"""

    rights = {"DELETE": Right.BILLING_WRITE}

    @extend_schema(
        operation_id="remove_tax_id",
        parameters=[OpenApiParameter("tax_id", OpenApiTypes.STR, OpenApiParameter.PATH)],
        responses={204: None},
    )
    def delete(self, request: Request, tax_id: str) -> Response:
        """Take a tax id off invoices to come."""
        accounts.remove_tax_id(**self._who(request), tax_id=tax_id[:255])
        return Response(status=status.HTTP_204_NO_CONTENT)


class CardsResource(PlanResource):
    """/v1/billing/cards"""

    rights = {"GET": Right.BILLING_READ}

    @extend_schema(operation_id="list_cards", responses=CardAnswer(many=True))
    def get(self, request: Request) -> Response:
        """List the cards on file, the one that pays first. The portal adds and removes them."""
        found = cards(organization_id=self.principal(request).organization_id)
        return Response([CardAnswer(one).data for one in found])


class SeatsResource(PlanResource):
    """/v1/billing/seats"""

    rights = {"GET": Right.BILLING_READ, "POST": Right.BILLING_WRITE, "PATCH": Right.BILLING_WRITE}

    @extend_schema(operation_id="preview_seats", parameters=[SeatsQuery], responses=SeatsAnswer)
    def get(self, request: Request) -> Response:
        """See to the cent what so many seats would cost now; nothing is changed."""
        wanted = read_query(SeatsQuery, request).get("seats")
        preview = seats.preview_seats(organization_id=self.principal(request).organization_id, seats=wanted)
        return Response(SeatsAnswer(preview).data)

    @extend_schema(operation_id="set_seats", request=Confirmation, responses={204: None})
    def post(self, request: Request) -> Response:
        """Pay for as many people as a preview said. The same token again does nothing more."""
        seats.set_previewed_seats(**self._who(request), token=read_body(Confirmation, request)["token"])
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(operation_id="set_seat_policy", request=SeatPolicyChange, responses={204: None})
    def patch(self, request: Request) -> Response:
        """Choose which people are paid for."""
        accounts.set_seat_policy(**self._who(request), policy=read_body(SeatPolicyChange, request)["policy"])
        return Response(status=status.HTTP_204_NO_CONTENT)
