"""The meters: what is counted or sampled, under which name, for people and programs."""

from django.db import models


class Meter(models.TextChoices):
    """What a usage event counts; or, for a gauge, what a daily sample says that there is."""

    INGEST = "ingest", "Turns ingested"
    SEAL = "seal", "Sessions sealed"
    RECALL = "recall", "Recalls"
    READ = "read", "Reads"
    WRITE = "write", "Changes"
    IMPORT = "import", "Imports"
    EXPORT = "export", "Exports"
    DELETE = "delete", "Deletions"
    DOCUMENT = "connector_document", "Documents brought in"
    STORED_BYTES = "stored_bytes", "Stored bytes"
    END_USER = "active_end_user", "Active end users"
    SEAT = "seat", "Seats"


GAUGES = frozenset({Meter.STORED_BYTES, Meter.END_USER, Meter.SEAT})
COUNTERS = frozenset(Meter) - GAUGES
