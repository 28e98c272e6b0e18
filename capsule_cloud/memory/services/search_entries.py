"""Makes search entries anew after the embedding model, or how text is read, has changed."""

import logging
from collections.abc import Collection
from itertools import groupby
from operator import itemgetter
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models.expressions import RawSQL

from capsule_cloud.memory import embedding, entries
from capsule_cloud.memory.models import Capsule, SearchEntry
from tenancy.scope import scope, unscoped

log = logging.getLogger("memory.search")


def renew(*, limit: int = 200) -> int:
    """Make anew up to `limit` search entries that another recipe made, of any organization; how many.

    One transaction, so a killed run changes nothing; several at once take different entries. Until its turn comes, a
    capsule is found by its words, and its embedding counts only where the model is the same.
    """
    embedding.embed("a model that cannot be loaded must fail here, and not for each capsule")
    with transaction.atomic(), unscoped(reason="find search entries that another recipe made") as wide:
        due = wide.rows("memory_entries_outdated", entries.RECIPE, limit)
        for organization_id, rows in groupby(due, itemgetter("organization_id")):
            with scope(organization_id):
                _make_anew([row["capsule_id"] for row in rows])
    return len(due)


def _make_anew(capsules: Collection[UUID]) -> None:
    documents = Capsule.objects.filter(pk__in=capsules).values_list("pk", "project_id", "user_id", "document")
    for key, project_id, user_id, document in documents.iterator():
        entry = SearchEntry.objects.filter(pk=key)
        try:
            made = entries.make(project_id, user_id, orjson.loads(document))
        except (ValueError, LookupError, TypeError, AttributeError):
            # it keeps its words, and holds nothing up
            log.exception("search.entry_unreadable capsule=%s", key)
            entry.update(embedding=None, embedding_model=entries.RECIPE)
        else:
            entry.update(
                keys=made.keys,
                lexemes=RawSQL("%s::tsvector", [made.lexemes]),
                length=made.length,
                embedding=made.embedding,
                embedding_model=made.embedding_model,
            )
