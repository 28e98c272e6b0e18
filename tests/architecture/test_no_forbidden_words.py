"""What must never be committed: addresses of package registries, secrets, unfinished business."""

import re

import pytest

from tests.architecture.sources import ROOT, python_files, read, tracked

# One letter of each stands in brackets, so that this file passes its own test.
FORBIDDEN = {
    "a package registry's address": re.compile(r"py[p]i\.org|python[h]osted\.org|npm[j]s\.(org|com)"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIV[A]TE KEY-----"),
    "a live Stripe key": re.compile(r"\b[sr]k_[l]ive_[0-9A-Za-z]{16,}"),
    "a merge conflict": re.compile(r"^(<{7} |>{7} )", re.MULTILINE),
}
UNFINISHED = re.compile(r"#.*\b(TO[D]O|FIX[M]E|X[X]X|HA[C]K)\b")
LARGEST_TEXT = 4 * 2**20


def texts() -> dict[str, str]:
    """Every text file of the repository."""
    found = {}
    for name in tracked():
        content = (ROOT / name).read_bytes()
        if len(content) < LARGEST_TEXT and b"\0" not in content[:4096]:
            found[name] = content.decode("utf-8", "replace")
    return found


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    found = [name for name, text in texts().items() if FORBIDDEN[what].search(text)]
    assert not found, f"Remove {what} from {found}"


def test_nothing_is_left_for_later_in_a_comment() -> None:
    found = [
        f"{name}:{number}"
        for name in python_files()
        for number, line in enumerate(read(name).splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not found, f"Do it, or write an issue: {found}"
