"""What may be wrong with the answers of an object store: the kinds of faults, of which `FaultyStore` is given some."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Request:
    """What somebody asked."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    time: datetime
    body: bytes = b""
    range: str = ""
    """The header of that name."""

    @property
    def is_listing(self) -> bool:
        return self.method == "GET" and not self.key and "uploads" not in self.query

    @property
    def lists_uploads(self) -> bool:
        return self.method == "GET" and not self.key and "uploads" in self.query


@dataclass(frozen=True)
class Answer:
    """What it says."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Fault:
    """How an answer differs from the proper one."""

    answer: Answer | None = None
    """This, whatever was asked."""
    before: Callable[[Request], object] | None = None
    """Done before the answer is made, as if somebody else were quicker."""
    change: Callable[[Request, Answer], Answer] | None = None
    """Makes another of the proper answer."""
    keys: Callable[[list[str]], list[str]] | None = None
    """Makes other keys of those that a listing has, in their order."""
    token: str | None = None
    """The token with which every page says that there is more, whichever page was asked for."""
    said: float = 1.0
    """The part of the bytes of the answer that is said: nothing comes after it, and nothing is closed."""
    headers_are_said: bool = True
    """Whether at least the headers are said."""
    seconds_a_byte: float = 0.0
    is_closed: bool = False
    """Whether the connection is closed after what is said."""


def error(status: int, code: str = "", **headers: str) -> Fault:
    """An error as S3 tells it; `x_amz_delete_marker="true"` is the header of that name."""
    body = error_body(code) if code else b""
    return Fault(Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body))


SILENCE = Fault(said=0, headers_are_said=False)
SILENCE_IN_MID_BODY = Fault(said=0.5)
CLOSED = Fault(said=0, headers_are_said=False, is_closed=True)
CLOSED_IN_MID_BODY = Fault(said=0.5, is_closed=True)
GARBAGE = Fault(Answer(200, {"Content-Type": "application/xml"}, b"<html><p>Please log in"))
ENDLESS = Fault(token="again")
"""The same page for ever."""
OUT_OF_ORDER = Fault(keys=lambda keys: keys[::-1])


def dripping(seconds_a_byte: float) -> Fault:
    """Every byte on its own, after so many seconds."""
    return Fault(seconds_a_byte=seconds_a_byte)


def before(happens: Callable[[Request], object]) -> Fault:
    """A proper answer, before which something happens."""
    return Fault(before=happens)


def leaving_out(*keys: str) -> Fault:
    """A listing without some keys that are there."""
    return Fault(keys=lambda there: [key for key in there if key not in keys])


def with_also(*keys: str) -> Fault:
    """A listing with keys that aren't there, or, if they are, twice: in two pages if a page ends between them."""
    return Fault(keys=lambda there: sorted([*there, *keys], key=str.encode))


def error_body(code: str) -> bytes:
    """S3's own form of an error."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return text.encode()
