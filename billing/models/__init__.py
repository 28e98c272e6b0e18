"""Holds what billing knows of an organization; one file for each matter."""

from billing.models.accounts import BillingAccount, SeatPolicy
from billing.models.dunning import Debt, Dunning
from billing.models.entitlements import EntitlementOverride, EntitlementVersion
from billing.models.inbox import StripeEvent
from billing.models.meter_pushes import MeterPush
from billing.models.subscriptions import ENDED, Document, Interval, Source, Status, Subscription

__all__ = [
    "ENDED",
    "BillingAccount",
    "Debt",
    "Document",
    "Dunning",
    "EntitlementOverride",
    "EntitlementVersion",
    "Interval",
    "MeterPush",
    "SeatPolicy",
    "Source",
    "Status",
    "StripeEvent",
    "Subscription",
]
