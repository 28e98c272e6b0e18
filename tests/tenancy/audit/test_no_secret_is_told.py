"""Whatever is typed where a secret goes, no event has it: property tests over the services that take one."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.services.accounts import Details
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import keys
from tenancy.webhooks import services as webhooks
from tests.factories import Tenant

SECRETS = st.text("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=16, max_size=40)
BIG = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def bodies(tenant: Tenant) -> str:
    """Every event of the tenant, as it is stored."""
    with scope(tenant.organization):
        return "\n".join(AuditEvent.objects.values_list("body", flat=True))


@given(token=SECRETS, other=SECRETS)
@BIG
def test_what_stands_behind_the_path_of_an_endpoint_s_address_is_in_no_event(
    token: str, other: str, tenant: Tenant
) -> None:
    with scope(tenant.organization):
        made = webhooks.create(actor=tenant.actor, url=f"https://hooks.example.com/in?token={token}")
        one = made.endpoint.pk
        webhooks.update(actor=tenant.actor, endpoint_id=one, url=f"https://hooks.example.com/in?token={other}")
        turned = webhooks.rotate(actor=tenant.actor, endpoint_id=one)
        webhooks.delete(actor=tenant.actor, endpoint_id=one)
    written = bodies(tenant)
    for secret in (token, other, made.secret, turned.secret):
        assert secret not in written


def test_no_event_has_the_secret_of_a_key(tenant: Tenant) -> None:
    maker = keys.Maker(actor=tenant.actor, user=tenant.owner, role=Role.OWNER)
    with scope(tenant.organization):
        made = keys.create(maker=maker, project_id=tenant.project.pk, name="Server", scopes=list(tenant.key.scopes))
        turned = keys.rotate(actor=tenant.actor, key_id=made.key.pk, overlap=keys.MAX_OVERLAP)
        keys.revoke(actor=tenant.actor, key_id=turned.key.pk)
    written = bodies(tenant)
    for secret in (made.secret, turned.secret, tenant.secret):
        assert secret not in written
    assert '"secret":["•••","•••"]' in written


@given(name=SECRETS, host=st.sampled_from(["example.com", "example.org"]))
def test_whom_invoices_go_to_is_told_by_the_place_alone(name: str, host: str) -> None:
    before, after = Details(invoice_emails=["ada@example.com"]), Details(invoice_emails=[f"{name}@{host}"])
    said = actions.BILLING_DETAILS_CHANGED.changed(
        {"invoice_emails": before.invoice_emails}, {"invoice_emails": after.invoice_emails}
    )
    assert said == {"invoice_emails": [["•••@example.com"], [f"•••@{host}"]]}
    assert actions.BILLING_DETAILS_CHANGED.changed({"invoice_emails": []}, {"invoice_emails": ["a@b.de"]}) == {
        "invoice_emails": [[], ["•••@b.de"]]
    }
