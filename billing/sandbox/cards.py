"""The test cards: what each is called, and what its bank says."""

from dataclasses import dataclass

from billing.sandbox.refusals import Json, Refusal, declined


@dataclass(frozen=True, slots=True)
class Card:
    """A test card. `attach` and `charge` are the codes it is refused with: (code, decline code)."""

    number: str
    brand: str = "visa"
    attach: tuple[str, str | None] | None = None
    charge: tuple[str, str | None] | None = None
    needs_authentication: bool = False
    is_disputed: bool = False  # its holder will tell the bank that it was not them


GENERIC = ("card_declined", "generic_decline")
CARDS = {
    "visa": Card("4242424242424242"),
    "visa_debit": Card("4000056655665556"),
    "mastercard": Card("5555555555554444", "mastercard"),
    "amex": Card("378282246310005", "amex"),
    "us": Card("4242424242424242"),
    "chargeCustomerFail": Card("4000000000000341", charge=GENERIC),
    "chargeDeclined": Card("4000000000000002", attach=GENERIC),
    "visa_chargeDeclined": Card("4000000000000002", attach=GENERIC),
    "chargeDeclinedInsufficientFunds": Card("4000000000009995", attach=("card_declined", "insufficient_funds")),
    "visa_chargeDeclinedInsufficientFunds": Card("4000000000009995", attach=("card_declined", "insufficient_funds")),
    "chargeDeclinedExpiredCard": Card("4000000000000069", attach=("expired_card", None)),
    "chargeDeclinedIncorrectCvc": Card("4000000000000127", attach=("incorrect_cvc", None)),
    "chargeDeclinedProcessingError": Card("4000000000000119", attach=("processing_error", None)),
    "createDispute": Card("4000000000000259", is_disputed=True),
    "threeDSecure2Required": Card("4000000000003220", needs_authentication=True),
    "threeDSecureRequired": Card("4000000000003063", needs_authentication=True),
    "authenticationRequired": Card("4000002760003184", needs_authentication=True),
}
MESSAGES = {
    "card_declined": "Your card was declined.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "insufficient_funds": "Your card has insufficient funds.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
}
BY_NUMBER = {card.number: name for name, card in reversed(CARDS.items())}


def named(name: str) -> Card:
    """The card of `pm_card_visa` or `tok_visa`. Raises Refusal for a name that is no test card's."""
    short = name.removeprefix("pm_card_").removeprefix("tok_")
    if short not in CARDS:
        raise Refusal(f"No such PaymentMethod: '{name}'", code="resource_missing", param="payment_method", status=404)
    return CARDS[short]


def numbered(number: str) -> Card:
    """The card with the number. Raises Refusal (402) for any other: no real number belongs here."""
    plain = number.replace(" ", "").replace("-", "")
    if plain not in BY_NUMBER:
        raise declined(
            "Your card was declined: the sandbox takes test cards alone.", "card_declined", "test_mode_live_card"
        )
    return CARDS[BY_NUMBER[plain]]


def refusal(reason: tuple[str, str | None], *, keeps: bool = True, **more: Json) -> Refusal:
    """The bank's no."""
    code, decline_code = reason
    message = MESSAGES.get(decline_code or code, MESSAGES[code])
    return declined(message, code, decline_code, keeps=keeps, **more)
