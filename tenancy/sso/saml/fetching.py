"""Fetches the metadata of identity providers from addresses that admins gave, by the one door to such addresses."""

import functools

from capsule_cloud.lib import http
from tenancy.errors import Invalid
from tenancy.sso.saml import metadata, signatures

TIMEOUT = 10.0  # seconds, for all of it
MD = "urn:oasis:names:tc:SAML:2.0:metadata"
ACCEPTS = "application/samlmetadata+xml, application/xml;q=0.9, text/xml;q=0.8, */*;q=0.1"


class Unfetched(Exception):
    """No metadata came that may be believed; `str()` says why, and what helps."""


@functools.cache
def door() -> http.Door:
    """The way out, with its open connections."""
    return http.Door()


def fetch(url: str, certificate: str) -> str:
    """The metadata at an address, signed by `certificate` (PEM) where one is given; no transaction may be open.

    Whether it describes an identity provider is `metadata.read`'s to say. Raises Unfetched.
    """
    try:
        answer = door().send("GET", url, headers={"Accept": ACCEPTS}, timeout=TIMEOUT, most=metadata.LARGEST)
    except http.HttpError as failure:
        raise Unfetched(str(failure)) from failure
    if 300 <= answer.status < 400:
        raise Unfetched(f"The address leads on to {answer.header('Location')[:200] or 'another'}: enter that one.")
    if answer.status != 200:
        raise Unfetched(f"The address answered with the status {answer.status} instead of metadata.")
    if not answer.is_whole:
        raise Unfetched(f"The answer broke off, took too long or has more than {metadata.LARGEST // 1024} KB.")
    try:
        text = answer.body.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise Unfetched("The answer is not in UTF-8.") from None
    if certificate and not _is_signed(text, certificate):
        raise Unfetched(
            "The metadata is not signed by the certificate that you gave for it: compare it with the identity "
            "provider's, or leave it out."
        )
    return text


def check_url(url: str) -> str:
    """An address as it is kept. Raises Invalid."""
    url = url.strip()
    try:
        http.place(url)
    except http.Blocked as failure:
        raise Invalid("metadata_url", str(failure)) from None
    return url


def _is_signed(text: str, certificate: str) -> bool:
    """Whether the whole document is: of a part of it nobody knows what stands beside it."""
    try:
        root = metadata.root(text)
    except Invalid:
        return False
    name = root.tag.removeprefix(f"{{{MD}}}")
    return signatures.is_signed(text, certificate.encode(), f"{MD}:{name}", root.get("ID", ""))
