"""What metering writes, a module a noun; the hot calls are named here for short."""

from billing.metering.services.recording import BadUse, Use, record, spool, usage_call
from billing.metering.services.shipping import ShipFailed, ship
from billing.metering.services.sums import roll_up

__all__ = [
    "BadUse",
    "ShipFailed",
    "Use",
    "record",
    "roll_up",
    "ship",
    "spool",
    "usage_call",
]
