"""Every action of the catalogue is recorded by some test, and every service that writes records one."""

import ast
import re

import pytest

from tenancy.audit import actions
from tenancy.audit.actions import CATALOGUE, Action
from tests.architecture.calls import modules, reaches
from tests.architecture.sources import python_files, tree

RECORDERS = {"tenancy.audit.services.record", "tenancy.audit.services.record_call"}
WRITES = {
    *(".save", ".create", ".bulk_create", ".bulk_update", ".update", ".delete", ".get_or_create", ".update_or_create"),
    *("tenancy.scope.one_trip",),
}
# Writes that leave no event, and why
SILENT = {
    "billing.services.accounts.ensure_customer": "a name at Stripe for what its caller records",
    "billing.services.accounts.locked_account": "an empty row for its caller to fill",
    "billing.services.changes.claim_revision": "whose turn it is: the caller records what it does with it",
    "billing.services.meter_pushes.collect": "writes down what was counted before",
    "billing.services.meter_pushes.deliver": "tells Stripe what was counted before",
    "billing.services.meter_pushes.push": "the two for one organization",
    "billing.services.meter_pushes.push_all": "the two for everybody",
    "billing.services.paperwork.credit_note": "keeps what Stripe has, for a list",
    "billing.credits.services.ledger.locked_accounts": "opens accounts that hold nothing yet",
    "billing.services.inbox.claim": "who works on which of Stripe's events",
    "billing.services.inbox.fail": "the inbox keeps the error itself",
    "billing.services.inbox.finish": "a part of what the event led to",
    "billing.services.inbox.forget_old": "Stripe has its events too",
    "billing.services.inbox.postpone": "the inbox keeps the error itself",
    "billing.services.inbox.replay": "Stripe's events are nobody's: the console records who replays",
    "billing.services.inbox.replay_dead": "Stripe's events are nobody's: the console records who replays",
    "capsule_cloud.memory.services.retention.delete_sessions_of": "a part of deleting an end user, which says how many",
    "capsule_cloud.memory.services.retention.forget_source_of": "a part of deleting a capsule, which says how many",
    "capsule_cloud.memory.services.search_entries.renew": "makes anew what is derived: capsules stay as they are",
    "billing.invoicing.services.agreements.keep": "a part of signing or changing, which say what holds then",
    "billing.invoicing.services.comparing.deliver": "hands to Stripe what the comparison has recorded",
    "billing.invoicing.services.lines.write_lines": "a part of opening an invoice, which says its total",
    "billing.metering.services.recording.record": "a count of what its caller has recorded",
    "billing.metering.services.reports.forget_old": "the usage events stay",
    "billing.metering.services.reports.take": "a count; the events themselves say by which key",
    "billing.metering.services.shipping.ship": "stores what was counted before",
    "billing.metering.services.watermark.move": "how far a machine's spool is stored",
    "billing.metering.services.watermark.register": "that a machine has a spool",
    "billing.quotas.services.admit": "a count of what its caller does and records",
    "billing.quotas.services.ask_anew": "what has changed is recorded by its caller",
    "billing.quotas.services.begin": "a counter is a cache of usage events",
    "billing.quotas.services.catch_up": "a counter is a cache of usage events",
    "tenancy.audit.services.record": "it is the record",
    "tenancy.sso.setup.services.begin": "a reserved id: adding the provider is recorded",
    "tenancy.groups.services.forget": "what a source said before: removing it, or the person from it, is recorded",
    "tenancy.groups.services.forget_leavers": "what a source said of people whose leaving is recorded",
    "tenancy.groups.services.remember": "what a source says: what comes of it is recorded",
    "tenancy.services.keys.end_keys": "a part of removal, demotion and revocation, which say how many keys ended",
    "tenancy.services.keys.end_outranked": "likewise",
    "tenancy.services.keys.end_outranked_of": "likewise",
    "tenancy.sso.oidc.services.discover": "keeps for a while what a provider says of itself: nobody has decided it",
    "tenancy.services.organizations.purge_due": "the trail is purged too: OrganizationPurge is the proof",
}
CONSTANTS = {value.name: name for name, value in vars(actions).items() if isinstance(value, Action)}
SERVICES = sorted(name for name in modules() if re.search(r"\.services(\.\w+)?$", name))


def named_in_tests() -> set[str]:
    """Every constant and text that stands in a test."""
    found = set()
    for name in python_files():
        if name.startswith("tests/") and not name.startswith("tests/architecture/"):
            for node in ast.walk(tree(name)):
                if isinstance(node, ast.Attribute):
                    found.add(node.attr)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return found


def test_every_action_is_recorded_by_some_test() -> None:
    named = named_in_tests()
    missing = [name for name in CATALOGUE if name not in named and CONSTANTS.get(name) not in named]
    assert not missing, f"Write a test that does it and finds it in the trail: {missing}"


def test_every_action_is_a_constant_that_some_code_records() -> None:
    assert set(CONSTANTS) == set(CATALOGUE)
    used = {
        node.attr
        for name in python_files(with_tests=False)
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Attribute)
    }
    assert not (set(CONSTANTS.values()) - used), "Take out of the catalogue what nothing records."


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_that_writes_records_it(service: str) -> None:
    writers = [name for name in modules()[service].public if reaches(service, name, WRITES.__contains__)]
    silent = {f"{service}.{name}" for name in writers if not reaches(service, name, RECORDERS.__contains__)}
    assert not silent - set(SILENT), "Record an action of tenancy/audit/actions.py, or say in SILENT why not."


def test_no_excuse_outlives_its_service() -> None:
    public = {f"{name}.{function}" for name in SERVICES for function in modules()[name].public}
    assert set(SILENT) <= public
