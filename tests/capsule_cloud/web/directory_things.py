"""Makes a directory with what its pages show, for tests of what looks at them."""

from typing import Any

from tenancy.roles import Role
from tenancy.scim import exchanges
from tenancy.scim.directories import services, tokens
from tenancy.scim.directories.tokens import DirectoryPrincipal
from tenancy.scim.models import Directory, Exchange
from tenancy.scope import scope
from tests.factories import Tenant


def put_directory(tenant: Tenant, **wanted: Any) -> tuple[Directory, DirectoryPrincipal]:
    """A directory, added by the owner, at work by its first token."""
    values = {"name": "Okta", "kind": "okta"} | wanted
    with scope(tenant.organization):
        directory, made = services.add(actor=tenant.actor, actor_role=Role.OWNER, **values)
    return directory, tokens.authenticate(f"Bearer {made.secret}")


def make_directory_things(tenant: Tenant) -> dict[str, str]:
    """Path parameters."""
    directory, who = put_directory(tenant)
    exchanges.record(principal=who, method="GET", path="/scim/v2/Users", status=404)
    with scope(tenant.organization):
        exchange = Exchange.objects.get(directory=directory)
    return {"directory_id": str(directory.pk), "token_id": str(who.token_id), "exchange_id": str(exchange.pk)}
