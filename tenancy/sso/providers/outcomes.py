"""Says which role would come out of a sign-in that an identity provider has asserted, by the mapping as it is now."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from tenancy.groups.models import PersonGroups
from tenancy.groups.plans import mapping, people
from tenancy.groups.rule import Said, because, projects_of, role_of
from tenancy.models import Membership, Project
from tenancy.roles import Role
from tenancy.sso.models import SignIn
from tenancy.sso.providers import sign_in as sign_ins
from tenancy.sso.providers.groups import Named, groups_in


@dataclass(frozen=True, slots=True)
class Outcome:
    """What somebody would be, coming with this answer now; `before` is what they are, if they are a member."""

    email: str
    named: Named
    matched: tuple[str, ...]  # of the groups that are named, those that give a role
    before: Role | None
    role: Role
    because: str
    projects: Sequence[tuple[str, Role]]


def outcome(sign_in: SignIn) -> Outcome:
    """Which role would come out, and why. Nothing is kept, and nobody's role changes."""
    provider, roles = sign_in.provider, mapping()
    mapped = {group for group, _ in roles}
    named = groups_in(provider, sign_in.attributes)
    matched = tuple(group for group in named.groups if group in mapped)
    email = sign_ins.address_in(provider, sign_in.subject, sign_in.attributes)
    who = Q(user=sign_in.user_id) if sign_in.user_id else Q(user__email__iexact=email)
    member = Membership.objects.filter(who).first()
    default = Role(provider.default_role)
    before = Role(member.role) if member is not None else None
    said = [] if member is None else [one for row in people(mapped, user_ids=[member.user_id]) for one in row.said]
    has_named = PersonGroups.objects.filter(source_id=provider.pk).exists()
    if not named.are_too_many and (named.groups or has_named):
        said = [Said(provider.name, matched, default), *(one for one in said if one.source_id != provider.pk)]
    given = projects_of(said, roles)
    projects = Project.objects.filter(archived_at=None).in_bulk(given)
    return Outcome(
        email=email,
        named=named,
        matched=matched,
        before=before,
        role=role_of(before or default, said, roles),
        because=because(before or default, said, roles),
        projects=[(projects[one].name, role) for one, role in given.items() if one in projects],
    )
