"""Staff see what waits, what was given up, and since when; and start it again by a command."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing.models import StripeEvent
from billing.selectors.inbox import events, state
from billing.services import inbox
from tests.billing.signing import make_event

pytestmark = pytest.mark.django_db


def test_the_state_counts_what_waits_and_what_was_given_up() -> None:
    before = state()
    one, other = make_event(), make_event("invoice", "in_of_this_test")
    inbox.receive(one)
    inbox.receive(other)
    StripeEvent.objects.filter(event_id=other["id"]).update(status="dead")
    now = state()
    assert (now.waiting, now.dead) == (before.waiting + 1, before.dead + 1)
    assert now.oldest is not None
    assert [row.event_id for row in events(text="in_of_this_test")] == [other["id"]]
    assert [row.event_id for row in events(text=other["id"], status="dead", kind="invoice")] == [other["id"]]
    assert not events(text=other["id"], kind="customer").exists()


def test_a_command_starts_events_again() -> None:
    event = make_event()
    inbox.receive(event)
    mine = StripeEvent.objects.filter(event_id=event["id"])
    for arguments in ([event["id"]], ["--dead"]):
        mine.update(status="dead", attempts=10)
        call_command("replay_stripe_events", *arguments, stdout=StringIO())
        assert mine.values_list("status", "attempts").get() == ("new", 0)
    with pytest.raises(CommandError, match="no event"):
        call_command("replay_stripe_events", "evt_nobody_knows")
