"""Owns the look of our secrets: a prefix and a checksum, which secret scanners recognise."""

import secrets
import zlib

PREFIX = "cmk_"  # of an API key
DIRECTORY_PREFIX = "cms_"  # of a directory's token
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_LENGTH = 32  # 190 bits
CHECKSUM_LENGTH = 6
HINT_LENGTH = len(PREFIX) + 6  # what people recognise a key by; the rest has 155 bits


def new_secret(prefix: str = PREFIX) -> str:
    """The prefix, 32 random characters, 6 of checksum: secret scanners find it and tell a real one from a look-alike.

    All prefixes are of one length.
    """
    body = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return f"{prefix}{body}{_checksum(body)}"


def is_well_formed(secret: str, prefix: str = PREFIX) -> bool:
    """Whether prefix, length, letters and checksum (CRC-32 in base 62) fit: no query is spent on anything else."""
    body, checksum = secret[len(PREFIX) : -CHECKSUM_LENGTH], secret[-CHECKSUM_LENGTH:]
    return (
        secret.startswith(prefix)
        and len(body) == RANDOM_LENGTH
        and all(character in ALPHABET for character in body)
        and _checksum(body) == checksum
    )


def _checksum(body: str) -> str:
    number, text = zlib.crc32(body.encode("ascii")), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        text = ALPHABET[digit] + text
    return text
