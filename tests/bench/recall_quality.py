"""Measures recall quality on the Cranfield collection: ours, the engine's file storage, a reference BM25, in one run.

`python -m tests.bench.recall_quality --cranfield FOLDER` (or CRANFIELD=FOLDER) with `cran.all.1400`, `cran.qry` and
`cranqrel`. Parameters were chosen on the queries with even numbers; those with odd numbers are reported apart.
"""

import argparse
import asyncio
import importlib
import math
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, quantiles
from tempfile import TemporaryDirectory

import django
from capsule_memory.core.builder import CapsuleBuilder
from capsule_memory.core.session import SessionConfig
from capsule_memory.models.capsule import Capsule
from capsule_memory.models.memory import MemoryFact, MemoryPayload
from capsule_memory.storage.local import LocalStorage

from tests.bench.house import house

USER = "reader"
DEPTH = 10
FACT = 500  # characters: a document's text becomes facts of about this length, cut between sentences

Search = Callable[[str], list[int]]  # the ids of the documents found, best first


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents by id, the queries by number, and which documents are relevant to each."""

    documents: dict[int, tuple[str, str]]  # title, text
    queries: dict[int, str]
    relevant: dict[int, set[int]]


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cranfield", type=Path, default=os.environ.get("CRANFIELD"), help="the collection's folder")
    folder = parser.parse_args().cranfield
    if folder is None:
        print("Not measured: this needs the Cranfield collection (CRANFIELD=folder).")
        return
    collection = read(Path(folder))
    capsules = {number: capsule(number, *document) for number, document in collection.documents.items()}
    print(f"{len(capsules):,} documents, each a capsule; {len(collection.relevant)} queries that have relevant ones.\n")
    print("| | nDCG@10 | even queries | odd queries | p50 ms | p95 ms |\n|---|---|---|---|---|---|")
    with house():
        print(row("ours", collection, ours(capsules)), flush=True)
    print(row("BM25 (k1 1.2, b 0.75, no stemming)", collection, bm25(collection)), flush=True)
    with TemporaryDirectory() as place:
        print(row("the engine's file storage", collection, engines(capsules, Path(place))), flush=True)


def read(folder: Path) -> Collection:
    """The collection from its three files; codes 1 to 4 are relevant, as the collection's readers decided."""
    documents = {
        number: (" ".join(parts["T"].split()), " ".join(parts["W"].split()))
        for number, parts in _records((folder / "cran.all.1400").read_text())
    }
    # queries are numbered by their place in the file, as the judgements number them
    queries = {
        place: parts["W"] for place, (_, parts) in enumerate(_records((folder / "cran.qry").read_text()), start=1)
    }
    relevant: dict[int, set[int]] = defaultdict(set)
    for line in (folder / "cranqrel").read_text().splitlines():
        query, document, code = map(int, line.split()[:3])
        if code > 0:
            relevant[query].add(document)
    return Collection(documents, queries, relevant)


def _records(text: str) -> list[tuple[int, dict[str, str]]]:
    records = []
    for record in re.split(r"^\.I ", text, flags=re.MULTILINE)[1:]:
        number, _, rest = record.partition("\n")
        parts: dict[str, str] = defaultdict(str)
        field = ""
        for line in rest.splitlines(keepends=True):
            if re.fullmatch(r"\.[TABW]\s*", line):
                field = line[1]
            elif field:
                parts[field] += line
        records.append((int(number), parts))
    return records


def capsule(number: int, title: str, text: str) -> Capsule:
    """A document as a capsule: its title, and its text as facts."""
    facts, fact = [], ""
    for sentence in re.split(r"(?<= \.)\s+", text):
        if fact and len(fact) + len(sentence) > FACT:
            facts.append(fact)
            fact = ""
        fact = f"{fact} {sentence}".strip()
    values = [*facts, fact] if fact else facts
    payload = MemoryPayload(facts=[MemoryFact(key=f"text.{place}", value=value) for place, value in enumerate(values)])
    made = CapsuleBuilder.build_memory(SessionConfig(user_id=USER, session_id="cranfield"), payload, title=title)
    made.capsule_id = f"cap_cranfield_{number}"
    return made


def ours(capsules: dict[int, Capsule]) -> Search:
    """Our search on the embedded servers, through the function that recall uses."""
    django.setup()
    search = importlib.import_module("capsule_cloud.memory.search")
    storage = importlib.import_module("capsule_cloud.memory.storage")
    seed = importlib.import_module("tests.factories").make_tenant()
    scope = importlib.import_module("tenancy.scope").scope
    for document in capsules.values():
        with scope(seed.organization):
            storage.save_capsule(seed.project.pk, document)

    def find(query: str) -> list[int]:
        found = search.find(seed.organization.pk, seed.project.pk, query, user_id=USER, top_k=DEPTH)
        return [_number(hit.capsule_id) for hit in found.hits]

    return find


def engines(capsules: dict[int, Capsule], place: Path) -> Search:
    """The engine's file storage, as its `recall` uses it."""
    storage = LocalStorage(place)

    async def save_all() -> None:
        for document in capsules.values():
            await storage.save(document)

    async def find(query: str) -> list[int]:
        return [_number(found.capsule_id) for found, _ in await storage.search(query, user_id=USER, top_k=DEPTH)]

    asyncio.run(save_all())
    return lambda query: asyncio.run(find(query))


def bm25(collection: Collection, saturation: float = 1.2, lengths: float = 0.75) -> Search:
    """Okapi BM25 over the words as they are written."""
    counts = {
        number: Counter(re.findall(r"\w+", f"{t} {w}".lower())) for number, (t, w) in collection.documents.items()
    }
    average = mean(count.total() for count in counts.values())
    holders: dict[str, list[int]] = defaultdict(list)
    for number, count in counts.items():
        for word in count:
            holders[word].append(number)

    def find(query: str) -> list[int]:
        scores: dict[int, float] = defaultdict(float)
        for word in set(re.findall(r"\w+", query.lower())):
            found = holders.get(word, [])
            idf = math.log(1 + (len(counts) - len(found) + 0.5) / (len(found) + 0.5))
            for number in found:
                times = counts[number][word]
                norm = 1 - lengths + lengths * counts[number].total() / average
                scores[number] += idf * times * (saturation + 1) / (times + saturation * norm)
        return sorted(scores, key=lambda number: -scores[number])[:DEPTH]

    return find


def row(name: str, collection: Collection, find: Search) -> str:
    """A line of the table: quality over all queries and each half, and how long a search took."""
    quality: dict[bool, list[float]] = {True: [], False: []}
    times: list[float] = []
    find("warm up")
    for number, wanted in collection.relevant.items():
        start = time.perf_counter()
        found = find(collection.queries[number])
        times.append((time.perf_counter() - start) * 1000)
        quality[number % 2 == 0].append(ndcg(found, wanted))
    even, odd = mean(quality[True]), mean(quality[False])
    everything = mean([*quality[True], *quality[False]])
    cuts = quantiles(times, n=20)
    return f"| {name} | {everything:.3f} | {even:.3f} | {odd:.3f} | {cuts[9]:.1f} | {cuts[18]:.1f} |"


def ndcg(found: list[int], wanted: set[int]) -> float:
    """Normalized discounted cumulative gain of the first ten, a relevant document gaining 1."""
    gain = sum(1 / math.log2(place + 2) for place, number in enumerate(found[:DEPTH]) if number in wanted)
    return gain / sum(1 / math.log2(place + 2) for place in range(min(DEPTH, len(wanted))))


def _number(capsule_id: str) -> int:
    return int(capsule_id.rpartition("_")[2])


if __name__ == "__main__":
    main()
