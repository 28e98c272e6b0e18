"""A download can be resumed, and too many at once are asked to wait."""

import gc
from collections.abc import Iterator

import pytest
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from capsule_cloud.lib import downloads

pytestmark = pytest.mark.django_db  # an answer that is closed closes old connections
CONTENT = bytes(range(100))
SUM = "ab" * 32


def read(start: int, end: int) -> Iterator[bytes]:
    """In pieces of seven."""
    for at in range(start, end, 7):
        yield CONTENT[at : min(at + 7, end)]


def begin(method: str = "GET", **headers: str) -> HttpResponse | StreamingHttpResponse:
    """An answer of which nothing is read yet."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = RequestFactory().generic(method, "/", headers=named)
    answer = downloads.answer(request, name="a.txt", size=len(CONTENT), sha256=SUM, read=read)
    assert isinstance(answer, HttpResponse | StreamingHttpResponse)
    return answer


def ask(**headers: str) -> tuple[HttpResponse | StreamingHttpResponse, bytes]:
    """An answer, and what comes of its body."""
    answer = begin(**headers)
    body = b"".join(answer.streaming_content) if isinstance(answer, StreamingHttpResponse) else answer.content  # type: ignore[arg-type]  # no asynchronous one
    answer.close()
    return answer, body


def test_the_whole_file_comes_with_its_length_and_its_sum() -> None:
    answer, body = ask()
    assert (answer.status_code, body) == (200, CONTENT)
    assert (answer["Content-Length"], answer["ETag"], answer["Accept-Ranges"]) == ("100", f'"{SUM}"', "bytes")
    assert answer["Content-Disposition"] == 'attachment; filename="a.txt"'


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=10-19", 10, 20),
        ("bytes=90-", 90, 100),
        ("bytes=-5", 95, 100),
        ("bytes=0-0", 0, 1),
        ("bytes=50-999", 50, 100),
    ],
)
def test_a_part_goes_on_where_an_earlier_download_ended(asked: str, start: int, end: int) -> None:
    answer, body = ask(Range=asked)
    assert (answer.status_code, body) == (206, CONTENT[start:end])
    assert (answer["Content-Range"], answer["Content-Length"]) == (f"bytes {start}-{end - 1}/100", str(end - start))


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=-0", "bytes=500-600"])
def test_a_part_that_is_not_there_is_said_so(asked: str) -> None:
    answer, body = ask(Range=asked)
    assert (answer.status_code, answer["Content-Range"], body) == (416, "bytes */100", b"")


@pytest.mark.parametrize("asked", ["bytes=5-2", "lines=1-2", "bytes=a-b", "bytes=1-2,4-5", "bytes=-", ""])
def test_a_range_that_is_none_gets_the_whole_file(asked: str) -> None:
    assert ask(Range=asked)[1] == CONTENT


def test_a_part_of_another_file_is_never_sent_as_one_of_this() -> None:
    assert ask(Range="bytes=10-", If_Range='"another"')[0].status_code == 200
    assert ask(Range="bytes=10-", If_Range=f'"{SUM}"')[0].status_code == 206


@given(st.text(alphabet="bytes=0123456789-, ", max_size=30), st.integers(0, 1000))
def test_no_range_leaves_the_file(header: str, size: int) -> None:
    try:
        found = downloads.asked_range(header, size)
    except ValueError:
        return
    assert found is None or 0 <= found[0] < found[1] <= size


@pytest.mark.parametrize(
    ("asked", "is_first"), [("", True), ("bytes=0-", True), ("bytes=10-", False), ("bytes=-5", False)]
)
def test_a_download_that_goes_on_is_no_new_one(asked: str, is_first: bool) -> None:
    request = RequestFactory().get("/", headers={"Range": asked})
    assert downloads.is_beginning(request) is is_first


def test_too_many_at_once_are_asked_to_come_back_and_whoever_hangs_up_makes_room() -> None:
    under_way = [begin() for _ in range(downloads.AT_ONCE)]
    refused = begin()
    assert (refused.status_code, refused["Retry-After"]) == (503, "10")
    under_way[0].close()  # before its first byte
    again = begin()
    assert again.status_code == 200
    for one in (*under_way, again):
        one.close()
        one.close()  # makes room once
    assert [ask()[0].status_code for _ in range(5)] == [200] * 5


def test_an_answer_that_nobody_sends_or_closes_makes_room() -> None:
    under_way = [begin() for _ in range(downloads.AT_ONCE)]
    assert begin().status_code == 503
    under_way.clear()
    gc.collect()
    assert ask()[0].status_code == 200


def test_asking_for_the_headers_alone_is_no_download() -> None:
    heads = [begin("HEAD") for _ in range(downloads.AT_ONCE)]
    assert [(one.status_code, one["Content-Length"], one.content) for one in heads] == [(200, "100", b"")] * 2
    assert begin("HEAD", Range="bytes=90-")["Content-Range"] == "bytes 90-99/100"
    assert not downloads.is_beginning(RequestFactory().head("/"))
    assert ask()[0].status_code == 200
