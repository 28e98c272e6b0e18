"""Translates between the rows of a directory and the resources of SCIM, as django-scim2's adapters do."""

from collections.abc import Mapping
from typing import Any

from scim2_models import Context, InvalidValueException, Resource

from tenancy.scim.folding import folded
from tenancy.scim.models import DirectoryGroup, DirectoryUser
from tenancy.scim.provisioning import address_of
from tenancy.scim.resources import GroupModel, UserModel

Document = dict[str, Any]
ELSEWHERE = ("id", "meta", "groups", "members")  # what `data` leaves to columns and rows
LONGEST = {"userName": 320, "displayName": 255, "externalId": 255}


def check_text(name: str, text: str, longest: int) -> None:
    """Refuse what no column holds. Raises InvalidValueException."""
    if len(text) > longest:
        raise InvalidValueException(detail=f"{name} has at most {longest} characters.")
    if "\0" in text:
        raise InvalidValueException(detail=f"{name} holds a NUL.")


class _Adapter:
    """What users and groups share."""

    kind: str
    endpoint: str
    model: Any

    def __init__(self, row: Any) -> None:
        self.row = row

    @property
    def version(self) -> str:
        """The ETag (RFC 7644, section 3.14)."""
        return f'W/"{self.row.revision}"'

    def document(self, more: Mapping[str, Any]) -> Document:
        """The resource as JSON; `more` is what rows of their own hold of it."""
        meta = {
            "resourceType": self.kind,
            "created": self.row.created_at.isoformat().replace("+00:00", "Z"),
            "lastModified": self.row.changed_at.isoformat().replace("+00:00", "Z"),
            "version": self.version,
        }
        return {**self.row.data, **more, "id": str(self.row.pk), "meta": meta}

    def take(self, resource: Resource[Any]) -> None:
        """Take over what the resource says. Raises InvalidValueException."""
        dumped: Document = resource.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE)
        for name in ELSEWHERE:
            dumped.pop(name, None)
        for name, longest in LONGEST.items():
            check_text(name, dumped.get(name) or "", longest)
        self.row.data = dumped
        self.row.external_id = resource.external_id or ""
        self.row.search = {str(self.row.directory_id): folded(resource, dumped["schemas"])}


class UserAdapter(_Adapter):
    """A user."""

    kind, endpoint, model = "User", "Users", UserModel
    row: DirectoryUser

    def take(self, resource: Any) -> None:
        """Take over what the resource says; a user is active unless it says otherwise."""
        super().take(resource)
        self.row.user_name = resource.user_name
        self.row.is_active = resource.active is not False
        self.row.email = address_of(resource.user_name, self.row.data)


class GroupAdapter(_Adapter):
    """A group; its members are rows of their own."""

    kind, endpoint, model = "Group", "Groups", GroupModel
    row: DirectoryGroup

    def take(self, resource: Any) -> None:
        """Take over what the resource says."""
        super().take(resource)
        self.row.display_name = resource.display_name
