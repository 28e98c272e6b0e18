"""Says when two names of users or groups are one: in NFC, without their case, as filters compare them."""

from unicodedata import normalize


def name_key(name: str) -> str:
    """A name in the form in which it is unique, and in which it is found."""
    return normalize("NFC", normalize("NFC", name).lower())
