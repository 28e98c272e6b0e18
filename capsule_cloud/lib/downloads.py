"""Sends large files in pieces: resumable (RFC 9110), and never so many at once that nobody else is served."""

import re
import threading
from collections.abc import Callable, Iterator

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

AT_ONCE = 2  # in a process: each holds one of its threads as long as the other side reads
RETRY_AFTER = 10  # seconds
_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")
_slots = threading.BoundedSemaphore(AT_ONCE)
Read = Callable[[int, int], Iterator[bytes]]


def asked_range(header: str, size: int) -> tuple[int, int] | None:
    """The bytes [start, end) of a Range header; None for the whole file, also where the header is one we do not know.

    Raises ValueError for a range that the file does not have.
    """
    found = _RANGE.fullmatch(header.strip().replace(" ", ""))
    if found is None or (found[1] is None and found[2] is None):
        return None
    if found[1] is None:
        start, end = max(size - int(found[2]), 0), size
    else:
        start, end = int(found[1]), size if found[2] is None else min(int(found[2]) + 1, size)
    if found[1] is not None and found[2] is not None and int(found[1]) > int(found[2]):
        return None
    if start >= size or start >= end:
        raise ValueError("no such bytes")
    return start, end


def is_beginning(request: HttpRequest) -> bool:
    """Whether this asks from a file's first byte on, and does not go on with an earlier download."""
    header = request.headers.get("Range", "")
    return not header or header.strip().startswith("bytes=0-")


def answer(request: HttpRequest, *, name: str, size: int, sha256: str, read: Read) -> HttpResponseBase:
    """The file, or the part of it that is asked for; 416 for a part that it lacks, 503 while too many are sent."""
    etag = f'"{sha256}"'
    headers = {"Accept-Ranges": "bytes", "ETag": etag, "X-Content-Type-Options": "nosniff"}
    is_same = request.headers.get("If-Range", etag) == etag
    try:
        part = asked_range(request.headers.get("Range", ""), size) if is_same else None
    except ValueError:
        return HttpResponse(status=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    start, end = part or (0, size)
    if not _slots.acquire(blocking=False):
        return HttpResponse(
            "Too many downloads are under way: try again in a few seconds.\n",
            status=503,
            content_type="text/plain; charset=utf-8",
            headers={"Retry-After": str(RETRY_AFTER)},
        )
    headers["Content-Length"] = str(end - start)
    headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return StreamingHttpResponse(
        _Pieces(read(start, end)),
        status=206 if part else 200,
        content_type="application/octet-stream",
        headers=headers,
    )


class _Pieces:
    """What is read, until the other side has it all or hangs up: then the slot is free again."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._is_open = pieces, True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the slot back, once."""
        if self._is_open:
            self._is_open = False
            _slots.release()
