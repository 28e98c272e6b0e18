"""What invoicing writes, a module a noun."""

from billing.invoicing.services.agreements import change_agreement
from billing.invoicing.services.closing import CloseFailed, close_due, close_period
from billing.invoicing.services.comparing import compare_due
from billing.invoicing.services.contracts import Offer, begin_due, end_contract, sign_contract
from billing.invoicing.services.settling import mark_paid, void, write_off

__all__ = [
    "CloseFailed",
    "Offer",
    "begin_due",
    "change_agreement",
    "close_due",
    "close_period",
    "compare_due",
    "end_contract",
    "mark_paid",
    "sign_contract",
    "void",
    "write_off",
]
