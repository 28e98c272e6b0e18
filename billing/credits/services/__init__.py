"""Writes of the credits room, a module a noun: the ledger, top-ups."""

from billing.credits.services.ledger import CreditsExhausted, NothingToVoid, RefReused, burn, expire_due, grant, void

__all__ = ["CreditsExhausted", "NothingToVoid", "RefReused", "burn", "expire_due", "grant", "void"]
