"""Says what is provisioned here and how: the resource types of RFC 7643 as we have them, and what we announce."""

from typing import Annotated, Any, cast

from pydantic import Field, field_validator
from scim2_models import (
    AuthenticationScheme,
    Bulk,
    CaseExact,
    ChangePassword,
    ETag,
    Filter,
    Group,
    Pagination,
    Patch,
    Reference,
    ResourceType,
    ScimPolicy,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
)
from scim2_models import EnterpriseUser as StandardEnterpriseUser
from scim2_models import User as StandardUser
from scim2_models.resources.enterprise_user import Manager as StandardManager
from scim2_models.resources.user import Email as StandardEmail

MOST_BYTES = 2**20  # of a request's body
MOST_OPERATIONS = 1_000  # of a bulk request
MOST_RESULTS = 200  # of a page
PAGE = 100  # where a client names no count
CURSOR_SECONDS = 3_600
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


class Email(StandardEmail):
    """An e-mail address as the directory has it: also one that no mail reaches, as in `.local`."""

    value: str | None = None


class User(StandardUser[Any]):
    """A user whose e-mail addresses are texts."""

    emails: list[Email] | None = None  # type: ignore[assignment]  # a text holds more than an address


class Manager(StandardManager):
    """Who somebody's manager is: directories send the identifier alone."""

    value: Annotated[str | None, CaseExact.true] = None
    ref: Reference["User"] | None = Field(  # type: ignore[assignment]  # our user
        None, serialization_alias="$ref", validation_alias="$ref"
    )


class EnterpriseUser(StandardEnterpriseUser):
    """The enterprise extension, whose manager Entra ID sends as a bare text."""

    manager: Manager | None = None

    @field_validator("manager", mode="before")
    @classmethod
    def _bare_manager(cls, value: Any) -> Any:
        return {"value": value} if isinstance(value, str) else value


# What Okta and Entra ID send beside the standard: attributes that nobody declared, the value of a remove, a path whose
# filter finds nothing yet. What is unknown is dropped: it changes nothing here.
POLICY = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)
CONFIG = ServiceProviderConfig(
    patch=Patch(supported=True),
    bulk=Bulk(supported=True, max_operations=MOST_OPERATIONS, max_payload_size=MOST_BYTES),
    filter=Filter(supported=True, max_results=MOST_RESULTS),
    change_password=ChangePassword(supported=False),
    sort=Sort(supported=True),
    etag=ETag(supported=True),
    pagination=Pagination(
        cursor=True,
        index=True,
        default_pagination_method=Pagination.DefaultPaginationMethod.index,
        default_page_size=PAGE,
        max_page_size=MOST_RESULTS,
        cursor_timeout=CURSOR_SECONDS,
    ),
    authentication_schemes=[
        AuthenticationScheme(
            type=AuthenticationScheme.Type.oauthbearertoken,
            name="Bearer token of a directory",
            description="Made under Single sign-on, Directories; sent as `Authorization: Bearer` (RFC 6750).",
            primary=True,
        )
    ],
)
USER_TYPE = ResourceType.from_resource(cast("Any", User)[EnterpriseUser])
GROUP_TYPE = ResourceType.from_resource(Group)
PROVIDER = ScimProvider(
    models=[User, EnterpriseUser, Group], resource_types=[USER_TYPE, GROUP_TYPE], config=CONFIG, policy=POLICY
)
UserModel: Any = PROVIDER.model_for(USER_TYPE)
GroupModel: Any = PROVIDER.model_for(GROUP_TYPE)
