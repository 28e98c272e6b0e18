"""Owns e-mail going out: a local outbox in development, a real server elsewhere."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import uuid_utils
from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend


@dataclass(frozen=True, slots=True)
class StoredMail:
    """A mail in the development outbox; `sent_at` is in Unix seconds."""

    id: str
    to: list[str]
    subject: str
    body: str
    sent_at: float


class OutboxBackend(BaseEmailBackend):
    """A Django mail back end that keeps mails as files in OUTBOX_DIR, newest first when read."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Store each message and return how many there were."""
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        for message in email_messages:
            mail = {
                "to": [str(address) for address in message.to],
                "subject": str(message.subject),
                "body": _text(message.message()),
                "sent_at": time.time(),
            }
            name = folder / f"{uuid_utils.uuid7()}.json"
            partial = name.with_suffix(".partial")
            partial.write_text(json.dumps(mail))
            partial.rename(name)
        return len(email_messages)


def outbox(limit: int = 50) -> list[StoredMail]:
    """The newest mails of the development outbox, newest first."""
    names = sorted(_folder().glob("*.json"), reverse=True)[:limit]
    return [StoredMail(id=name.stem, **json.loads(name.read_text())) for name in names]


def _folder() -> Path:
    return Path(settings.OUTBOX_DIR)


def _text(message: Message) -> str:
    part = next((p for p in message.walk() if p.get_content_type() == "text/plain"), message)
    payload = part.get_payload(decode=True)
    return payload.decode(errors="replace") if isinstance(payload, bytes) else str(payload)
