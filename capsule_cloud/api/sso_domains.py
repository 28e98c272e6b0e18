"""Domains that an organization proves to be its own: what to write into DNS, and what was found there."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api import paging
from capsule_cloud.api.resource import Resource, paged, read_body
from tenancy.roles import Right
from tenancy.sso.domains import names, selectors, services
from tenancy.sso.domains.evidence import REMEDIES, remedy_of
from tenancy.sso.models import VerifiedDomain


class DnsRecord(serializers.Serializer[Any]):
    """What to write into DNS, and to leave there."""

    type = serializers.ChoiceField(choices=["TXT"])
    name = serializers.CharField(help_text="Whole; many providers add the domain by themselves.")
    value = serializers.CharField()


class DomainAnswer(serializers.ModelSerializer[VerifiedDomain]):
    """A domain. `verified` and `lost` count as proved: a lost record locks nobody out."""

    shown = serializers.CharField(help_text="As people write it: `bücher.de` for `xn--bcher-kva.de`.")
    record = DnsRecord()
    last_code = serializers.ChoiceField(
        choices=["", "found", *REMEDIES], help_text="What the last look found; empty before the first."
    )
    last_result = serializers.CharField(help_text="The same in a sentence.")
    remedy = serializers.CharField(help_text="What helps; empty where nothing needs to.")
    last_seen = serializers.ListField(
        child=serializers.CharField(), help_text="TXT records that stand there instead: at most ten, shortened."
    )
    next_check_at = serializers.DateTimeField(
        source="due_at", allow_null=True, help_text="Null: we look when you ask, and no more by ourselves."
    )

    class Meta:
        model = VerifiedDomain
        fields = [
            *("id", "domain", "shown", "state", "record", "created_at", "verified_at", "missing_since", "lost_at"),
            *("last_checked_at", "next_check_at", "last_code", "last_result", "remedy", "last_seen"),
        ]


class NewDomain(serializers.Serializer[Any]):
    """Which domain."""

    domain = serializers.CharField(max_length=253, help_text="Alone, such as `acme.com`; it counts for itself alone.")


def _shown(domain: VerifiedDomain) -> dict[str, Any]:
    domain.shown = names.shown(domain.domain)  # type: ignore[attr-defined]  # what the serializer reads
    domain.record = {  # type: ignore[attr-defined]
        "type": "TXT",
        "name": names.record_of(domain.domain),
        "value": names.VALUE + domain.token,
    }
    domain.remedy = remedy_of(domain.last_code, domain.domain)  # type: ignore[attr-defined]
    return dict(DomainAnswer(domain).data)


class DomainsResource(Resource):
    """/v1/sso/domains"""

    rights = {"GET": Right.SSO_READ, "POST": Right.SSO_MANAGE}

    @extend_schema(operation_id="list_domains", parameters=paging.PARAMETERS, responses=paged(DomainAnswer))
    def get(self, request: Request) -> Response:
        """List the domains, the oldest first."""
        with self.scope(request):
            rows = selectors.domains()
        return Response(paging.page(request, rows, lambda row: row.pk, _shown))

    @extend_schema(operation_id="add_domain", request=NewDomain, responses={201: DomainAnswer})
    def post(self, request: Request) -> Response:
        """Add a domain. The answer has the record that proves it; we look for that after a minute."""
        values = read_body(NewDomain, request)
        with self.scope(request):
            added = services.add(actor=self.principal(request).actor, **values)
        return Response(_shown(added), status=status.HTTP_201_CREATED)


class DomainResource(Resource):
    """/v1/sso/domains/{domain_id}"""

    rights = {"GET": Right.SSO_READ, "DELETE": Right.SSO_MANAGE}

    @extend_schema(operation_id="get_domain", responses=DomainAnswer)
    def get(self, request: Request, domain_id: UUID) -> Response:
        """Get a domain and what was found in its DNS."""
        with self.scope(request):
            return Response(_shown(selectors.domain(domain_id)))

    @extend_schema(operation_id="remove_domain", responses={204: None})
    def delete(self, request: Request, domain_id: UUID) -> Response:
        """Give a domain up. Its record proves nothing any more; added again, it gets another."""
        with self.scope(request):
            services.remove(actor=self.principal(request).actor, domain_id=domain_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class DomainCheckResource(Resource):
    """/v1/sso/domains/{domain_id}/check"""

    rights = {"POST": Right.SSO_MANAGE}
    calls_out = True

    @extend_schema(operation_id="check_domain", request=None, responses=DomainAnswer)
    def post(self, request: Request, domain_id: UUID) -> Response:
        """Look into DNS now, once in ten seconds, and answer with the domain as it stands then."""
        who = self.principal(request)
        checked = services.check(actor=who.actor, organization_id=who.organization_id, domain_id=domain_id)
        return Response(_shown(checked))
