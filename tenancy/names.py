"""Decides what a name that people give to a thing may look like."""

import unicodedata

from tenancy.errors import Invalid

LONGEST = 120
# Control characters (NUL, line breaks, which would forge mail headers), surrogates, line and paragraph separators
_REFUSED = frozenset({"Cc", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    """What of a text that a machine sent can be shown, and stored: no NUL, line break or half of a surrogate pair."""
    return "".join(character for character in text if character.isprintable())


def clean_name(name: str, thing: str) -> str:
    """The name of an organization, project or key without outer blanks. Raises Invalid, which says `thing`."""
    name = name.strip()
    if not 1 <= len(name) <= LONGEST:
        raise Invalid("name", f"Give the {thing} a name of 1 to {LONGEST} characters.")
    if any(unicodedata.category(character) in _REFUSED for character in name):
        raise Invalid("name", f"The {thing}'s name has a character that cannot be shown: write it on one line.")
    return name
