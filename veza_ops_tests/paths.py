"""Generated paths, a folder in which they mean something, and how else a path may be written."""

import html
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from hypothesis import settings
from hypothesis import strategies as st

same_every_time = settings(derandomize=True, deadline=None, database=None, max_examples=400)

THERE = ["song.flac", "empty.flac", "album", "album/song.flac", "link.flac", unicodedata.normalize("NFD", "é.flac")]
NOT_TO_BE_FOLLOWED = ["dangling", "dangling/song.flac", "loop", "loop/song.flac", "song.flac/song.flac"]

# Parts of paths that mean something in the folder below, or to the system, or nothing at all.
PARTS = ["", ".", "..", "album", "song.flac", "empty.flac", "link.flac", "dangling", "loop", "outside", " "]
PARTS += ["é.flac", unicodedata.normalize("NFD", "é.flac"), "a" * 255, "a" * 256, "\0", chr(0xDCE9)]
parts = st.one_of(st.sampled_from(PARTS), st.text(max_size=8))
relative_paths = st.lists(parts, min_size=1, max_size=6).map("/".join).filter(lambda path: not path.startswith("/"))


def lay_out(root: Path) -> Path:
    """Make `root` a folder with files, links of every kind, and a neighbour that nobody may look at."""
    (root / "album").mkdir(parents=True)
    (root.parent / "outside").mkdir()
    for path in ("song.flac", "empty.flac", "album/song.flac", unicodedata.normalize("NFD", "é.flac")):
        (root / path).touch()
    (root / "link.flac").symlink_to("song.flac")
    (root / "dangling").symlink_to("/not/mounted/today")
    (root / "loop").symlink_to("loop")
    return root


# -- the same path, written otherwise -------------------------------------------------------------------------------

BLANKS = " \t\u00a0\u2009\u202f\u3000\u00ad\u200b\u200d\u2060\ufeff\ufe0f"
QUOTES = ["''", '""', "``", "\u2018\u2019", "“”", "„“", "«»", "\u2039\u203a"]

Change = Callable[[str, int], str]
"""A path, and a number that says where in it, to the same path written otherwise."""


def _at(path: str, number: int, change: Callable[[str], str]) -> str:
    """One character of the path changed."""
    at = number % len(path)
    return path[:at] + change(path[at]) + path[at + 1 :]


def _name(path: str, change: Callable[[str], str]) -> str:
    """The name behind the last slash changed."""
    head, slash, name = path.rpartition("/")
    return head + slash + change(name)


def _folder(path: str, change: Callable[[str], str]) -> str:
    """The first folder changed."""
    bare = path.lstrip("/")
    folder, slash, rest = bare.partition("/")
    return path[: -len(bare)] + change(folder) + slash + rest if folder else path


def _blank(path: str, number: int) -> str:
    at = number % (len(path) + 1)
    return path[:at] + BLANKS[number % len(BLANKS)] + path[at:]


def _quoted(text: str, number: int) -> str:
    pair = QUOTES[number % len(QUOTES)]
    return pair[0] + text + pair[1]


_OF_NAMES: dict[str, Change] = {
    "lower case": lambda path, _: path.lower(),
    "upper case": lambda path, _: path.upper(),
    "title case": lambda path, _: path.title(),
    "swapped case": lambda path, _: path.swapcase(),
    "one letter's case": lambda path, number: _at(path, number, str.swapcase),
    "NFC": lambda path, _: unicodedata.normalize("NFC", path),
    "NFD": lambda path, _: unicodedata.normalize("NFD", path),
    "NFKC": lambda path, _: unicodedata.normalize("NFKC", path),
    "NFKD": lambda path, _: unicodedata.normalize("NFKD", path),
    "a blank": _blank,
}
_IN_PLACE: dict[str, Change] = {
    "an entity": lambda path, number: _at(path, number, lambda each: _entity(each, number)),
    "percent-encoded at one place": lambda path, number: _at(path, number, lambda each: _percent(each, number)),
}
_AS_A_WHOLE: dict[str, Change] = {
    "a blank around it": lambda path, number: f" {path}" if number % 2 else f"{path}\n",
    "percent-encoded": lambda path, _: quote(path, errors="surrogateescape"),
    "percent-encoded whole": lambda path, _: quote(path, safe="", errors="surrogateescape"),
    "+ for spaces": lambda path, _: path.replace(" ", "+"),
    "HTML": lambda path, _: html.escape(path),
    "a backslash": lambda path, _: path.replace("/", "\\"),
    "file:": lambda path, _: f"file:{path}",
    "file: before the name": lambda path, _: _name(path, "file:{}".format),
    "a query": lambda path, number: path + ("?", "?x=1", "?token", "?a=b&c=d.mp3")[number % 4],
    "quotes": _quoted,
    "a quoted name": lambda path, number: _name(path, lambda name: _quoted(name, number)),
    "a quoted folder": lambda path, number: _folder(path, lambda name: _quoted(name, number)),
}
LIKENESSES = _OF_NAMES | _IN_PLACE | _AS_A_WHOLE


def _percent(character: str, number: int) -> str:
    encoded = "".join(f"%{each:02X}" for each in os.fsencode(character))
    return encoded.lower() if number % 2 else encoded


def _entity(character: str, number: int) -> str:
    entity = f"&#x{ord(character):x};" if number % 2 else f"&#{ord(character)};"
    return entity if html.unescape(entity) == character else character  # HTML has none for control characters


def _in_order(how: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """A name is changed before it is encoded, and single characters before the whole: nobody writes ``%2 0``."""
    order = [*_OF_NAMES, *_IN_PLACE]
    whole = len(order)
    return sorted(how, key=lambda each: order.index(each[0]) if each[0] in order else whole)


changes = st.lists(
    st.tuples(st.sampled_from(sorted(LIKENESSES)), st.integers(0, 999)),
    min_size=1,
    max_size=3,
    unique_by=lambda each: each[0],
).map(_in_order)
"""What `written_otherwise` does, one after the other."""


def written_otherwise(path: str, how: list[tuple[str, int]]) -> str:
    """`path` as other people or systems may have written it."""
    for kind, number in how:
        path = LIKENESSES[kind](path, number)
    return path
