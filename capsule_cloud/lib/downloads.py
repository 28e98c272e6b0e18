"""Sends large files in pieces: resumable (RFC 9110), and never so many at once that nobody else is served."""

import re
import threading
import weakref
from collections.abc import Callable, Iterator

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

AT_ONCE = 2  # in a process: each holds one of its threads as long as the other side reads
RETRY_AFTER = 10  # seconds
_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")
_begin = threading.Lock()
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
    """Whether this asks for bytes from a file's first on, and does not go on with an earlier download."""
    if request.method == "HEAD":
        return False
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
    headers["Content-Length"] = str(end - start)
    headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    status, content_type = 206 if part else 200, "application/octet-stream"
    if request.method == "HEAD":
        return HttpResponse(status=status, content_type=content_type, headers=headers)
    pieces = _Pieces(read(start, end))
    with _begin:
        if len(_under_way) >= AT_ONCE:
            return HttpResponse(
                "Too many downloads are under way: try again in a few seconds.\n",
                status=503,
                content_type="text/plain; charset=utf-8",
                headers={"Retry-After": str(RETRY_AFTER)},
            )
        _under_way.add(pieces)
    return StreamingHttpResponse(pieces, status=status, content_type=content_type, headers=headers)


class _Pieces:
    """What is read, until the other side has it all or hangs up: then there is room for another."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Make room, however often this is called."""
        _under_way.discard(self)


# Weak: an answer that is dropped, never sent nor closed, takes its place with it. No lock may be needed for that, for
# the garbage collector may come while this very thread holds it.
_under_way: weakref.WeakSet[_Pieces] = weakref.WeakSet()
