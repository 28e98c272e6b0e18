"""Expected failures that several tenancy services share; each says what to do next."""


class TenancyError(Exception):
    """Something was refused; `str()` is a sentence for people, `code` is stable for programs."""

    code = "invalid"


class NotFound(TenancyError):
    """It does not exist here, or it is somebody else's: nobody is told which."""

    code = "not_found"


class LimitReached(TenancyError):
    """The organization's plan allows no more of these."""

    code = "limit_reached"


class Conflict(TenancyError):
    """The state of things does not allow it."""

    code = "conflict"


class Invalid(TenancyError):
    """An argument is wrong; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Forbidden(TenancyError):
    """The actor may see this but not do that."""

    code = "forbidden"
