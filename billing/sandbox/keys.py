"""The sandbox's own secrets, made from SECRET_KEY, so that every process of an installation has the same."""

from django.conf import settings
from django.utils.crypto import salted_hmac

ACCOUNT = "acct_sandbox"  # the one account that an installation bills with
PATH = "/webhooks/stripe"


def secret_key() -> str:
    """The API key that the sandbox accepts for its account."""
    return f"sk_test_{_token('api key')}"


def webhook_secret() -> str:
    """What the webhooks to this installation are signed with."""
    return f"whsec_{_token('webhook')}"


def webhook_url() -> str:
    """Where the events of the account are delivered."""
    return f"{settings.PUBLIC_URL}{PATH}"


def _token(purpose: str) -> str:
    return salted_hmac("billing.sandbox", purpose, algorithm="sha256").hexdigest()[:48]
