"""Turns text into the stems that search compares: English stems, words, pairs of Chinese or Japanese characters."""

import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache

import Stemmer

MAX_LEXEME = 64  # characters; a longer "word" is found by its beginning
MAX_QUERY_LEXEMES = 48  # of a long query: the words that occur most often in it
EDITION = 2  # of what this file makes of a text; another number means that every search entry is made anew
CENTRAL = "!"  # before each of a text's most frequent stems, once more: what a common word is looked up by
CENTRAL_PART = 8  # one stem of so many is central
PREFIX = "*"  # at the end of a query's lexeme; no stem contains it
MAX_VECTOR_BYTES = 900_000  # PostgreSQL refuses a tsvector of 1 MiB
LABELS = "DCBB"  # a weight label says how often a stem occurs: once, twice, three or four times; more is A

# Combining marks belong to their word (Python's \w leaves them out): accents, Hebrew, Arabic, the scripts of South and
# South-East Asia.
_WORD = re.compile(
    r"(?:[^\W_]|[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0dff\u0e00-\u109f\u1780-\u17ff])+"
)
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+")  # the same where all is ASCII, three times as fast
# Scripts written without spaces between words: Thai to Khmer, kana, Han, Hangul (whose particles cling to their nouns).
_SPACELESS = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")  # of camelCase and of names with numbers
_ACCENT = re.compile(r"[\u0300-\u036f]")

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a about above after again all also am an and any are as at be because been before being below between both but
        by can could did do does doing down during each either few for from further had has have having he her here
        hers him his how i if in into is it its just may me might more most must my no nor not now of off on once only
        or other our out over own s same shall she should so some such t than that the their them then there these
        they this those through to too under until up upon us used using very was we were what when where which while
        who whom why will with would you your
        """,
    )
)

_local = threading.local()  # a stemmer is not safe to share between threads


@lru_cache(maxsize=16_384)
def _stems(word: str) -> tuple[str, ...]:
    """The stems of an ASCII word of at most MAX_LEXEME characters, and of its parts: userId, HTTPServer, python3."""
    if not hasattr(_local, "stemmer"):
        _local.stemmer = Stemmer.Stemmer("english")
    lowered = word.lower()
    words = [] if lowered in STOP_WORDS else [lowered]
    if not (word.isalpha() and (word.islower() or word.isupper() or word.istitle())) and not word.isdigit():
        parts = (part.lower() for part in _PART.findall(word))
        words += [part for part in parts if part != lowered and part not in STOP_WORDS]
    return tuple(_local.stemmer.stemWords(words))


def lexemes(text: str) -> list[str]:
    """The stems of the text in order, with repetitions, without stop words."""
    if text.isascii():
        return [stem for word in _ASCII_WORD.findall(text) for stem in _latin(word)]
    return [lexeme for lexeme, _ in _located(text)]


def distinct(text: str) -> frozenset[str]:
    """The different stems of the text."""
    if text.isascii():
        words = set(_ASCII_WORD.findall(text))
        is_usual = max(map(len, words), default=0) <= MAX_LEXEME  # then no call of Python's for each word
        return frozenset().union(*map(_stems if is_usual else _latin, words))
    return frozenset(lexemes(text))


def beginnings(stems: Iterable[str]) -> list[str]:
    """What `may_have` looks for. An English stem is its word's beginning but for two characters: "dying" is "die"."""
    return [stem[:-2] for stem in stems]


def may_have(text: str, beginnings: list[str]) -> bool:
    """False when the text surely has none of the stems: three times as quick as to look which stems it has."""
    return not text.isascii() or any(map(text.lower().__contains__, beginnings))  # a generator takes twice as long


def query_lexemes(text: str, *, as_typed: bool = False) -> list[str]:
    """The different stems of a query, at most MAX_QUERY_LEXEMES: those that occur most often in it, then the first.

    One that ends in PREFIX matches every stem that begins so: a single Chinese character, and with `as_typed` the last
    word, which its writer may still be typing.
    """
    located = list(_located(text))
    found = []
    for lexeme, word in located:
        if not _SPACELESS.fullmatch(lexeme) or len(lexeme) > 1:
            found.append(lexeme)
        elif len(word) == 1:
            found.append(lexeme + PREFIX)
    if as_typed and located and text[-1:].isalnum() and text.isascii():
        stem, word = located[-1]
        found[-1] = (stem if word.lower().startswith(stem) else word.lower()[:MAX_LEXEME]) + PREFIX
    return [lexeme for lexeme, _ in Counter(found).most_common(MAX_QUERY_LEXEMES)]


def words_matching(text: str, wanted: Collection[str]) -> list[str]:
    """The words of the text, as they are written, that a query's lexemes match; each once, in order."""
    exact = {lexeme for lexeme in wanted if not lexeme.endswith(PREFIX)}
    beginnings = tuple(lexeme[:-1] for lexeme in wanted if lexeme.endswith(PREFIX))
    found: dict[str, None] = {}
    for lexeme, word in _located(text):
        if lexeme in exact or (beginnings and (lexeme.startswith(beginnings) or word.lower().startswith(beginnings))):
            found[word] = None
    return list(found)


def spans(text: str, words: Collection[str]) -> list[tuple[int, int]]:
    """Where in the text these words stand, in order, without overlaps."""
    if not words:
        return []
    either = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    if all(word.isascii() for word in words):
        either = rf"(?<![^\W_])(?:{either})(?![^\W_])"  # whole words, where words have edges
    return [match.span() for match in re.finditer(either, text)]


def vector(stems: list[str]) -> str:
    """The stems as a tsvector literal whose weight labels say how often each occurs; central ones once more, as such.

    Of stems that occur equally often the first are central: a capsule's title comes first. Beyond 900 kB of different
    words (PostgreSQL's limit is 1 MiB) the rarest of the text are left out.
    """
    entries: list[str] = []
    size = 0
    counted = Counter(stems).most_common()
    central = -(-len(counted) // CENTRAL_PART)
    for place, (stem, times) in enumerate(counted):
        size += len(stem.encode()) + 8
        if size > MAX_VECTOR_BYTES:
            break
        entries.append(f"'{stem}':1{LABELS[times - 1] if times <= len(LABELS) else 'A'}")
        if place < central:
            size += len(stem.encode()) + 9
            entries.append(f"'{CENTRAL}{stem}':1")
    return " ".join(entries)


def _located(text: str) -> Iterator[tuple[str, str]]:
    """Each stem with the word, as it is written, that it comes from."""
    for match in _WORD.finditer(text if text.isascii() else unicodedata.normalize("NFKC", text)):
        word = match[0]
        if word.isascii():
            for stem in _latin(word):
                yield stem, word
        else:
            yield from _mixed(word)


def _latin(word: str) -> tuple[str, ...]:
    return _stems(word) if len(word) <= MAX_LEXEME else (word[:MAX_LEXEME].lower(),)  # no word: a key, a blob


def _mixed(word: str) -> Iterator[tuple[str, str]]:
    """A word with letters beyond ASCII: pairs of characters where a script has no spaces, else without its accents."""
    position = 0
    for run in _SPACELESS.finditer(word):
        if run.start() > position:
            yield from _plain(word[position : run.start()])
        characters = run[0]
        for first in range(len(characters) - 1):
            yield characters[first : first + 2], characters[first : first + 2]
        yield characters[-1], characters  # so that every character is the beginning of some stem
        position = run.end()
    if position < len(word):
        yield from _plain(word[position:])


def _plain(word: str) -> Iterator[tuple[str, str]]:
    bare = _ACCENT.sub("", unicodedata.normalize("NFD", word.casefold()))
    if not bare:
        return  # an accent on nothing
    if bare.isascii():
        for stem in _latin(bare):
            yield stem, word
    else:
        yield unicodedata.normalize("NFC", bare)[:MAX_LEXEME], word
