"""Who is calling: the key that the door let in, for plain views and for Django REST Framework."""

from typing import Any

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from billing.plans import FEATURE_NAMES, Feature
from billing.restrictions import check_paid
from capsule_cloud.api.errors import ApiError
from tenancy.access import KeyPrincipal
from tenancy.roles import SCOPE_RIGHTS, Right


def admit(request: HttpRequest, principal: KeyPrincipal) -> None:
    """Remember the caller on the request; only the door does this."""
    request.api_principal = principal  # type: ignore[attr-defined]  # the door's one note on Django's request


def principal_of(request: HttpRequest) -> KeyPrincipal:
    """The caller of a request that came through the door."""
    principal: KeyPrincipal = request.api_principal  # type: ignore[attr-defined]  # set by `admit`
    return principal


def demand(principal: KeyPrincipal, right: Right, *, is_way_out: bool = False) -> None:
    """Raise `missing_scope`, naming the scopes that would do, unless the key has the right.

    Raises BillingRestricted where an unpaid bill has closed it; what is a way out stays open.
    """
    if not principal.has(right):
        scopes = " or ".join(sorted(scope for scope, rights in SCOPE_RIGHTS.items() if right in rights))
        detail = f"This key lacks the scope {scopes}." if scopes else "No API key may do this: use the console."
        raise ApiError("missing_scope", detail)
    check_paid(principal.access, right, is_way_out=is_way_out)


def demand_feature(principal: KeyPrincipal, feature: Feature) -> None:
    """Raise `feature_not_in_plan` unless the organization's plan has the feature."""
    if feature not in principal.features:
        raise ApiError("feature_not_in_plan", f"Your plan does not have this: {FEATURE_NAMES[feature]}.")


class ApiKeyAuthentication(BaseAuthentication):
    """Hands DRF the key that the door has authenticated already."""

    def authenticate(self, request: Request) -> tuple[Any, Any]:
        """The principal, as user and as auth."""
        principal = principal_of(request._request)
        return principal, principal

    def authenticate_header(self, request: Request) -> str:
        """For 401 answers (RFC 9110)."""
        return "Bearer"


class HasScope(BasePermission):
    """Checks the view's `rights`, a right for each method. A view without one for a method is closed."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Raise `missing_scope`, or let the key in."""
        right: Right | None = getattr(view, "rights", {}).get(request.method)
        if right is None:
            return request.method not in view.allowed_methods  # no such method: DRF answers 405
        demand(principal_of(request._request), right, is_way_out=request.method in view.ways_out)
        return True
