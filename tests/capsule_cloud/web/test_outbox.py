"""The development outbox."""

from pathlib import Path

import pytest
from django.core.mail import EmailMessage
from django.test import Client
from pytest_django.fixtures import Settings

from capsule_cloud.lib.mail import OutboxBackend

OUTBOX = "capsule_cloud.lib.mail.OutboxBackend"


@pytest.fixture
def box(settings: Settings, tmp_path: Path) -> OutboxBackend:
    """An outbox of this test's own."""
    settings.EMAIL_BACKEND, settings.OUTBOX_DIR = OUTBOX, str(tmp_path)
    return OutboxBackend()


def test_codes_and_links_are_pulled_out_of_the_mails(client: Client, box: OutboxBackend) -> None:
    box.send_messages([EmailMessage("Your code", "Here it is:\n\nABCD-EFGH\n\nBye", None, ["a@example.com"])])
    box.send_messages([EmailMessage("Join", "Go to http://testserver/invitations/x:y/ now", None, ["b@example.com"])])
    text = client.get("/outbox/").content.decode()
    assert ">ABCD-EFGH<" in text
    assert 'href="http://testserver/invitations/x:y/"' in text
    assert text.index("b@example.com") < text.index("a@example.com")


def test_an_empty_outbox_says_what_will_be_here(client: Client, box: OutboxBackend) -> None:
    assert "No mail yet" in client.get("/outbox/").content.decode()


def test_it_does_not_exist_where_mail_is_really_sent(client: Client, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    assert client.get("/outbox/").status_code == 404
    assert "/outbox/" not in client.get("/account/login/").content.decode()
