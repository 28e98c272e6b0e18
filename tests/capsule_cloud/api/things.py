"""Makes one of everything that an address can name, through the API itself."""

from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.web.audit_things import make_audit_things
from tests.capsule_cloud.web.billing_things import make_billing_things
from tests.capsule_cloud.web.directory_things import make_directory_things
from tests.capsule_cloud.web.sso_things import make_sso_things
from tests.capsule_cloud.web.webhook_things import make_webhook_things
from tests.sealing import seal_all

NOTICED = {"user_message": "Tea, remember this", "assistant_response": "Perfect, noted", "user_id": "ada"}


def make_things(api: Api) -> dict[str, str]:
    """Path parameters of things that exist in the tenant's organization."""
    api.post("/api/v1/sessions/sealed/ingest", NOTICED)
    capsule = api.post("/api/v1/sessions/sealed/seal").json()["capsule_id"]
    api.post("/api/v1/sessions/open/ingest", NOTICED)
    [trigger] = api.get("/api/v1/sessions/open/triggers").json()["triggers"]
    things = make_billing_things(api.tenant) | make_webhook_things(api.tenant) | make_audit_things(api.tenant)
    things |= make_sso_things(api.tenant) | make_directory_things(api.tenant)
    seal_all()
    return things | {
        "audit_event_id": api.get("/v1/audit/events?action=organization.created").json()["data"][0]["id"],
        "session_id": "open",
        "event_id": trigger["event_id"],
        "capsule_id": capsule,
        "other_id": capsule,
        "user_id": str(api.tenant.owner.pk),
        "tax_id": "txi_nothing",
        "key_id": str(api.tenant.key.pk),
        "invitation_id": api.post("/v1/invitations", {"email": "guest@example.com"}).json()["id"],
        "project_id": api.post("/v1/projects", {"name": "Another"}).json()["id"],
    }
