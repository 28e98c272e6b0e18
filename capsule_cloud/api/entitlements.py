"""The signed copy of an organization's entitlements, for data planes that run elsewhere."""

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.plans import Feature
from billing.selectors.snapshots import snapshot
from capsule_cloud.api.auth import demand_feature
from capsule_cloud.api.resource import Resource
from tenancy.roles import Right


class EntitledPlanAnswer(serializers.Serializer[Any]):
    """The version of a plan, and what it rests on: free, stripe, contract or manual."""

    key = serializers.CharField()
    version = serializers.IntegerField()
    basis = serializers.CharField()


class EntitledIncludedAnswer(serializers.Serializer[Any]):
    """What a period includes; `overage` is the price of one more in minor units, null where there is none."""

    quantity = serializers.IntegerField()
    overage = serializers.CharField(allow_null=True)


class EntitledPeriodAnswer(serializers.Serializer[Any]):
    """What usage is counted in; null: the calendar month in UTC."""

    start = serializers.DateTimeField(allow_null=True)
    end = serializers.DateTimeField(allow_null=True)


class EntitledPricesAnswer(serializers.Serializer[Any]):
    """What the plan costs a month, a year, and for each seat above those included, in minor units without tax."""

    monthly = serializers.IntegerField()
    yearly = serializers.IntegerField()
    seat = serializers.IntegerField()
    currency = serializers.CharField()


class EntitlementsAnswer(serializers.Serializer[Any]):
    """What the organization may use; a limit that is null is none."""

    format = serializers.CharField()
    organization = serializers.UUIDField()
    version = serializers.IntegerField()
    issued_at = serializers.DateTimeField()
    valid_until = serializers.DateTimeField()
    when_stale = serializers.DictField(child=serializers.CharField())
    plan = EntitledPlanAnswer()
    prices = EntitledPricesAnswer()
    access = serializers.CharField()
    features = serializers.ListField(child=serializers.CharField())
    limits = serializers.DictField(child=serializers.IntegerField(allow_null=True))
    included = serializers.DictField(child=EntitledIncludedAnswer())
    period = EntitledPeriodAnswer()


class EntitlementsSignatureAnswer(serializers.Serializer[Any]):
    """Ed25519, base64; `public_key` is what a data plane is set up with, once."""

    key_id = serializers.CharField()
    algorithm = serializers.CharField()
    public_key = serializers.CharField()
    value = serializers.CharField()


class SnapshotAnswer(serializers.Serializer[Any]):
    """Entitlements and the organization's signature over their canonical bytes."""

    entitlements = EntitlementsAnswer()
    signature = EntitlementsSignatureAnswer()


class EntitlementsResource(Resource):
    """/v1/entitlements"""

    rights = {"GET": Right.ORGANIZATION_READ}

    @extend_schema(operation_id="get_entitlements", responses=SnapshotAnswer)
    def get(self, request: Request) -> Response:
        """Get a signed copy of the organization's entitlements. It is valid for a day without asking again."""
        demand_feature(self.principal(request), Feature.DATA_PLANES)
        with self.scope(request):
            found = snapshot()
        return Response({"entitlements": found.entitlements, "signature": asdict(found.signature)})
