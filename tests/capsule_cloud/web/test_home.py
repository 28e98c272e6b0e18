"""The start page, the first organization, and the overview."""

import uuid

from django.test import Client
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import UsageHour
from billing.metering.services import Use, record
from tenancy.models import Project
from tenancy.roles import Role
from tenancy.scope import scope
from tests.capsule_cloud.web.conftest import SignIn
from tests.factories import Tenant, add_member, make_user


def test_the_landing_page_pitches_with_snippets_that_name_this_server(client: Client, db: None) -> None:
    text = client.get("/").content.decode()
    assert "http://testserver/api/v1" in text
    assert "/account/signup/" in text


def test_a_signed_in_person_goes_on_to_the_last_organization(tenant: Tenant, owner: Client, home: str) -> None:
    assert owner.get("/")["Location"] == home


def test_the_first_organization_is_made_and_opened(db: None, sign_in: SignIn) -> None:
    browser = sign_in(make_user("Fred"))
    name = f"First {uuid.uuid4().hex[:8]}"
    answer = browser.post("/organizations/new/", {"name": name, "region": "eu"}, follow=True)
    assert f"{name} is ready." in answer.content.decode()
    assert "First steps" in answer.content.decode()


def test_an_organization_without_name_is_refused(db: None, sign_in: SignIn) -> None:
    answer = sign_in(make_user("Gus")).post("/organizations/new/", {"name": "  ", "region": "eu"})
    assert answer.status_code == 422


def test_usage_is_drawn_by_meter_and_project(tenant: Tenant, owner: Client, home: str) -> None:
    with scope(tenant.organization):
        other = Project.objects.create(name="Other", slug="other")
        for project, meter, quantity in ((tenant.project, Meter.INGEST, 41), (other, Meter.RECALL, 7)):
            record(
                Use(
                    organization_id=tenant.organization.pk,
                    project_id=project.pk,
                    key_id=tenant.key.pk,
                    meter=meter,
                    quantity=quantity,
                    end_user="dana",
                )
            )
    text = owner.get(home).content.decode()
    assert "41 turns ingested, 7 recalls" in text
    assert f"{timezone.now():%d %b}" in text
    narrowed = owner.get(home + "?project=other").content.decode()
    assert "7 recalls" in narrowed
    assert "41 turns ingested" not in narrowed
    assert owner.get(home + "?project=nothing").status_code == 404


def test_the_checklist_ticks_what_is_done(tenant: Tenant, owner: Client, home: str) -> None:
    text = owner.get(home).content.decode()
    assert "2 of 4" in text


def test_a_cap_that_is_reached_is_said_to_everybody_and_sold_only_to_those_who_may_buy(
    tenant: Tenant, owner: Client, sign_in: SignIn, home: str
) -> None:
    assert "At the cap" not in owner.get(home).content.decode()
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    with scope(tenant.organization):
        UsageHour.objects.create(project_id=tenant.project.pk, meter=Meter.INGEST, hour=hour, quantity=25_000, events=1)
    text = owner.get(home).content.decode()
    assert "At the cap of the Free plan: memory operations." in text
    assert f'href="{home}billing/plan/"' in text
    of_member = sign_in(add_member(tenant, Role.MEMBER, "Mia")).get(home).content.decode()
    assert "ask an owner or a member for billing" in of_member
    assert f'href="{home}billing/plan/"' not in of_member
