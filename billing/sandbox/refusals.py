"""What the sandbox says no with, in Stripe's words."""

from typing import Any

Json = dict[str, Any]


class Refusal(Exception):
    """An error in Stripe's shape. `keeps` says that what happened before it stays, as a refused payment's invoice."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        keeps: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status, self.keeps = status, keeps
        found = {"message": message, "type": kind, "code": code, "param": param} | more
        self.error: Json = {name: value for name, value in found.items() if value is not None}


def missing(kind: str, wanted: str, param: str = "id") -> Refusal:
    """There is no such object in this account."""
    status = 404 if param == "id" else 400
    return Refusal(f"No such {kind}: '{wanted}'", status=status, code="resource_missing", param=param)


def declined(message: str, code: str, decline_code: str | None = None, *, keeps: bool = True, **more: Any) -> Refusal:
    """A card's bank said no (402)."""
    return Refusal(message, status=402, kind="card_error", code=code, decline_code=decline_code, keeps=keeps, **more)
