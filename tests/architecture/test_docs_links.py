"""Every relative link in the documents leads somewhere."""

import re
from pathlib import PurePosixPath

import pytest

from tests.architecture.sources import ROOT, read, tracked

LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|(?:src|href)=\"([^\"]+)\"")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
DOCUMENTS = [name for name in tracked() if name.endswith(".md")]


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+\s+(.+?)\s*#*$", CODE.sub(lambda code: code[0].strip("`"), text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_resolves(document: str) -> None:
    broken = []
    for pair in LINK.findall(CODE.sub("", read(document))):
        link = next(filter(None, pair))
        if re.match(r"[a-z][a-z0-9+.-]*:|//", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / PurePosixPath(document).parent / path) if path else ROOT / document
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert not broken, f"{document} links to what is not there: {broken}"


def test_there_are_documents_to_check() -> None:
    assert DOCUMENTS
