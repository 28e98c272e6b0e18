"""Reads what identity providers answered, of the organization in scope: the newest first, a page at a time."""

from uuid import UUID

from tenancy.errors import NotFound
from tenancy.sso.models import SignIn


def answers(
    *, provider_id: UUID | None = None, state: str = "", code: str = "", before: UUID | None = None, limit: int
) -> list[SignIn]:
    """Those of a provider, with an outcome, with a reason: whichever is given; `before` is the last of another page."""
    found = SignIn.objects.select_related("provider", "user").order_by("-id")
    if provider_id:
        found = found.filter(provider=provider_id)
    if state:
        found = found.filter(state=state)
    if code:
        found = found.filter(code=code)
    if before:
        found = found.filter(id__lt=before)
    return list(found[:limit])


def answer(sign_in_id: UUID) -> SignIn:
    """One of them. Raises NotFound."""
    found = SignIn.objects.select_related("provider", "user").filter(pk=sign_in_id).first()
    if found is None:
        raise NotFound("There is no such sign-in.")
    return found
