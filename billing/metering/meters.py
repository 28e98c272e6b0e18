"""The meters: what is counted, under which name, for people and programs."""

from django.db import models


class Meter(models.TextChoices):
    """What a usage event counts."""

    INGEST = "ingest", "Turns ingested"
    SEAL = "seal", "Sessions sealed"
    RECALL = "recall", "Recalls"
    READ = "read", "Reads"
    WRITE = "write", "Changes"
    IMPORT = "import", "Imports"
    EXPORT = "export", "Exports"
    DELETE = "delete", "Deletions"
    # Gauges: how much there is, not how often something happened
    STORED_BYTES = "stored_bytes", "Stored bytes"
    DOCUMENT = "connector_document", "Connector documents"
    END_USER = "active_end_user", "Active end users"
    SEAT = "seat", "Seats"
