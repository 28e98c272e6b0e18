"""Knows up to when everything that was spooled, on whichever machine, is stored."""

import logging
import os
from datetime import datetime, timedelta
from uuid import UUID

import uuid_utils.compat as uuid_utils
from django.db import DatabaseError, connection
from django.db.models import Min

from billing.metering.models import SpoolMachine
from billing.metering.spool import folder

GONE = timedelta(days=7)  # a machine that nobody has heard of for so long does not come back, and its spool neither

log = logging.getLogger("metering")


def register() -> None:
    """Say that this machine spools, from now on: a server calls it before its first answer.

    Without the database nobody is let in and nothing is spooled; the machine's shipper says it then.
    """
    try:
        SpoolMachine.objects.get_or_create(pk=_machine(), defaults={"stored_until": moment()})
    except DatabaseError:
        log.exception("metering.machine_not_registered")


def move(until: datetime) -> None:
    """Say that everything spooled on this machine before then is stored. Only the machine's shipper knows."""
    SpoolMachine.objects.update_or_create(pk=_machine(), defaults={"stored_until": until})


def stored_until() -> datetime:
    """Before this moment nothing is spooled any more that is not stored, on any machine that may come back."""
    now = moment()
    oldest: datetime | None = SpoolMachine.objects.filter(stored_until__gt=now - GONE).aggregate(
        oldest=Min("stored_until")
    )["oldest"]
    return oldest or now


def moment() -> datetime:
    """Now, by PostgreSQL's clock, which all machines share."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        [(now,)] = cursor.fetchall()
    found: datetime = now
    return found


def _machine() -> UUID:
    """This machine's name, which lies beside its spool."""
    path = folder() / "machine"
    if not path.exists():
        folder().mkdir(parents=True, exist_ok=True)
        mine = path.with_name(f"machine.{os.getpid()}")
        mine.write_text(str(uuid_utils.uuid7()))
        try:
            os.link(mine, path)  # whole, or not at all; whoever is first names the machine
        except FileExistsError:
            pass
        finally:
            mine.unlink()
    return UUID(path.read_text())
