"""The outbox keeps development's mail, newest first."""

from pathlib import Path
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives, send_mail

from capsule_cloud.lib import mail


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    """An outbox of the test's own."""
    settings.EMAIL_BACKEND = "capsule_cloud.lib.mail.OutboxBackend"
    settings.OUTBOX_DIR = str(tmp_path / "outbox")
    return tmp_path / "outbox"


def test_an_outbox_that_nobody_wrote_to_is_empty() -> None:
    assert mail.outbox() == []


def test_mails_are_read_newest_first_and_whole(folder: Path) -> None:
    for subject in ("First", "Zweite \u00e4\u00f6"):
        assert send_mail(subject, "Gr\u00fc\u00dfe\nhttps://example.com/\n", None, ["ada@example.com"]) == 1
    newest, first = mail.outbox()
    assert (newest.subject, first.subject) == ("Zweite \u00e4\u00f6", "First")
    assert newest.to == ["ada@example.com"]
    assert "Gr\u00fc\u00dfe" in newest.body
    assert newest.sent_at >= first.sent_at
    assert [one.subject for one in mail.outbox(limit=1)] == ["Zweite \u00e4\u00f6"]
    assert list(folder.glob("*.partial")) == []


def test_of_a_mail_in_two_forms_the_text_is_kept() -> None:
    message = EmailMultiAlternatives("Both", "plain", None, ["ada@example.com"])
    message.attach_alternative("<p>rich</p>", "text/html")
    message.send()
    assert mail.outbox()[0].body.strip() == "plain"
