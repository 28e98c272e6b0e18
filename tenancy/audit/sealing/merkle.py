"""Merkle trees as RFC 6962 hashes them: grown by their frontier alone, proved from stored subtrees without a scan."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

HASH_BYTES = 32
STEP = 8  # levels between two that are stored: a tile has the 2**8 hashes below one of the next
WIDTH = 1 << STEP
KEPT_TILES = 64  # a proof needs four or five
EMPTY_ROOT = sha256(b"").digest()

# (level, first, count) to the hashes of so many neighbours: of leaves at level 0, of subtrees of 2**8 leaves at level 8
Read = Callable[[int, int, int], Sequence[bytes]]


def leaf_hash(body: bytes) -> bytes:
    """The hash of a leaf (RFC 6962, 2.1): of a zero byte and its body."""
    return sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: of a byte one and its two children."""
    return sha256(b"\x01" + left + right).digest()


class Node(NamedTuple):
    """The hash of the subtree of 2**level leaves at this place among its like."""

    level: int
    place: int
    hash: bytes


@dataclass(slots=True)
class Frontier:
    """What a tree needs in order to grow: a hash for each bit that is set in its size, the largest subtree first."""

    size: int = 0
    hashes: list[bytes] = field(default_factory=list)

    @classmethod
    def load(cls, size: int, packed: bytes) -> "Frontier":
        """From what `packed` gave. Raises ValueError when it is not that size's."""
        if len(packed) != HASH_BYTES * size.bit_count():
            raise ValueError(f"A tree of {size} leaves has no frontier of {len(packed)} bytes.")
        return cls(size, split(packed))

    @property
    def packed(self) -> bytes:
        """The hashes in one piece, for storage."""
        return b"".join(self.hashes)

    @property
    def root(self) -> bytes:
        """The root of the tree."""
        return fold(self.hashes)

    def extend(self, leaves: Iterable[bytes]) -> list[Node]:
        """Append leaves' hashes; returns the subtrees that they complete, on the levels that are stored."""
        stack, size = self.hashes, self.size
        complete = []
        for one in leaves:
            node, level = one, 0
            while size >> level & 1:
                node = sha256(b"\x01" + stack.pop() + node).digest()
                level += 1
                if level % STEP == 0:
                    complete.append(Node(level, size >> level, node))
            stack.append(node)
            size += 1
        self.size = size
        return complete


def split(packed: bytes) -> list[bytes]:
    """Hashes that lie in one piece."""
    return [packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES)]


def fold(hashes: Sequence[bytes]) -> bytes:
    """One hash of neighbours that get smaller from left to right, as the right edge of a tree is hashed."""
    if not hashes:
        return EMPTY_ROOT
    node = hashes[-1]
    for left in reversed(hashes[:-1]):
        node = node_hash(left, node)
    return node


def cover(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The fewest whole subtrees that make up the leaves [start, end), from left to right, as (level, index)."""
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield level, start >> level
        start += 1 << level


@dataclass(frozen=True)
class Tree:
    """A stored tree of `size` leaves. It keeps what it read last: make one for each answer, not for a process."""

    size: int
    read: Read

    @cached_property
    def _tiles(self) -> dict[tuple[int, int], Sequence[bytes]]:
        return {}

    @property
    def root(self) -> bytes:
        """The root."""
        return self.root_at(self.size)

    def root_at(self, size: int) -> bytes:
        """The root when it had so many leaves. Raises ValueError when it never had."""
        self._check(0 <= size <= self.size)
        return self._range(0, size)

    def subtree(self, level: int, index: int) -> bytes:
        """The hash of a whole subtree. Raises ValueError where there is none."""
        self._check(index >= 0 and (index + 1) << level <= self.size)
        below = level % STEP
        tile, offset = divmod(index << below, WIDTH)
        nodes = list(self._tile(level - below, tile)[offset : offset + (1 << below)])
        while len(nodes) > 1:
            nodes = [node_hash(*nodes[at : at + 2]) for at in range(0, len(nodes), 2)]
        return nodes[0]

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The proof that the leaf is in the tree of `size` leaves (RFC 6962, 2.1.1). Raises ValueError."""
        start, end = 0, self.size if size is None else size
        self._check(0 <= index < end <= self.size)
        path = []
        while end - start > 1:
            middle = start + _split_at(end - start)
            if index < middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """The proof that the tree of `new` leaves begins with that of `old` (RFC 6962, 2.1.2). Raises ValueError."""
        start, end = 0, self.size if new is None else new
        self._check(0 <= old <= end <= self.size)
        path: list[bytes] = []
        while 0 < old < end:
            middle = start + _split_at(end - start)
            if old <= middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        if start:
            path.append(self._range(start, end))
        return path[::-1]

    def _range(self, start: int, end: int) -> bytes:
        return fold([self.subtree(level, index) for level, index in cover(start, end)])

    def _tile(self, level: int, index: int) -> Sequence[bytes]:
        known = self._tiles
        if (level, index) not in known:
            first = index * WIDTH
            count = min(WIDTH, (self.size >> level) - first)
            found = self.read(level, first, count)
            self._check(len(found) == count)
            if len(known) >= KEPT_TILES:
                known.pop(next(iter(known)))
            known[level, index] = found
        return known[level, index]

    def _check(self, holds: bool) -> None:
        if not holds:
            raise ValueError(f"The tree of {self.size} leaves has no such part.")


def _split_at(size: int) -> int:
    """The largest power of two below a size of two or more."""
    return 1 << (size - 1).bit_length() - 1
