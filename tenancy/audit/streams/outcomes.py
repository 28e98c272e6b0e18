"""What came of sending something: it arrived, its content was refused, or the target failed."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from capsule_cloud.lib import http
from tenancy.audit.streams.models import Kind
from tenancy.webhooks.delivery import retry_after

SHOWN = 500  # characters of an answer that are kept
OF_CONTENT = frozenset({400, 413, 422})  # a target that works says these of an event that it cannot take
SPLUNK_OF_CONTENT = frozenset({5, 6, 12, 13})  # of its codes with 400: others are about the token or the index


class Verdict(Enum):
    """What to do next."""

    ARRIVED = "arrived"
    REFUSED = "refused"  # find the event whose fault it is
    FAILED = "failed"  # later again, all of it
    GONE = "gone"  # never again


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict with its reasons; `hold`: for so many seconds the target wants nothing."""

    verdict: Verdict
    sentence: str
    status: int | None = None
    code: str = ""
    hold: float | None = None
    answer: str = ""

    @property
    def has_arrived(self) -> bool:
        """Whether it has."""
        return self.verdict is Verdict.ARRIVED


def failed(sentence: str, code: str = "") -> Outcome:
    """There is no answer."""
    return Outcome(Verdict.FAILED, sentence[:300], code=code[:16])


def judge(kind: str, answer: http.Answer) -> Outcome:
    """What an answer means. 2xx is success; Splunk says so in its body, too, and what breaks off has not said it."""
    text = answer.body.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")[:SHOWN]
    verdict, sentence, hold = Verdict.FAILED, f"Answered {answer.status}.", None
    said = _splunk_code(answer.body) if kind == Kind.SPLUNK else None
    if 200 <= answer.status < 300:
        if kind != Kind.SPLUNK or said == 0:
            verdict = Verdict.ARRIVED
        else:
            sentence = f"Answered {answer.status}, but not the word of a collector that all was taken."
    elif answer.status == 410:
        verdict, sentence = Verdict.GONE, "Answered 410 Gone."
    elif 300 <= answer.status < 400:
        sentence = f"Answered {answer.status}: redirects are not followed, so give the address itself."
    elif answer.status in OF_CONTENT and (kind != Kind.SPLUNK or answer.status != 400 or said in SPLUNK_OF_CONTENT):
        verdict = Verdict.REFUSED
    elif answer.status in {401, 403}:
        sentence = f"Answered {answer.status}: check the credentials."
    elif answer.status in {429, 503}:
        hold = retry_after(answer.header("retry-after"))
    return Outcome(verdict, sentence, answer.status, hold=hold, answer=text)


def _splunk_code(body: bytes) -> int | None:
    try:
        told: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    code = told.get("code") if isinstance(told, dict) else None
    return code if isinstance(code, int) else None
