"""Keeps the sandbox and Stripe apart: with a key of Stripe's set, the sandbox answers nobody."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from billing.sandbox import keys


def stripe_key() -> str:
    """Stripe's own secret key, or an empty text where the sandbox stands in for Stripe (STRIPE_SECRET_KEY)."""
    return str(settings.STRIPE_API_KEY)


def refuse_beside_stripe() -> None:
    """Raise ImproperlyConfigured where a key of Stripe's is set: money would be told in two places."""
    if stripe_key():
        raise ImproperlyConfigured("The billing sandbox does not run beside STRIPE_SECRET_KEY: unset one of the two.")


def live_key(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The sandbox's own key must never look like one that moves money."""
    if keys.secret_key().startswith(("sk_live_", "rk_live_")):
        return [Error("The billing sandbox has a live key.", hint="Let SECRET_KEY make it.", id="sandbox.E001")]
    return []
