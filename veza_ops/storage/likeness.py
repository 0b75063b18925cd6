"""Names that a person or another system would take for the same: one form for all that are alike.

Two names are alike when they fold to the same: letter case; Unicode form or compatibility form; white space,
zero-width characters, a byte order mark; percent-encoding and ``+``; HTML entities; quotes; ``file:`` before it; an
address's query behind it; backslashes for slashes, which make one name a path. What was written in bytes that are no
UTF-8 is read as Latin-1, as old programs wrote it.
"""

import html
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from urllib.parse import unquote_to_bytes

_QUOTES = "\"'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2039\u203a\u00ab\u00bb\u2032\u2033\u2035\u2036"
_QUOTES += "\u02b9\u02bb\u02bc\u275b\u275c\u275d\u275e\u300c\u300d\u300e\u300f\u301d\u301e\u301f"
# Takes no room on a screen, though Unicode counts it among the letters, marks or symbols.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
_BLANK += "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
_IGNORED = {ord(character): None for character in f"+{_QUOTES}{_BLANK}"} | {ord("\u0131"): "i"}
_INVISIBLE = ("Cc", "Cf")
# Any of these in a name takes a closer look; all else in ASCII is folded in one go.
_TELLING = "%&\\?#:\0"
_ASCII = [chr(code) for code in range(128)]
_PLAIN = {ord(each): each.lower() if each.isprintable() and each not in f"+ {_QUOTES}" else None for each in _ASCII}
_PLAIN[ord("\n")] = "\n"
_SEPARATORS = re.compile(r"[/\\]+")
_ABSOLUTE = re.compile(r"(?:file:)*(?:[/\\]|[a-z][a-z0-9+.-]*:[/\\]|(?:arn|blob|data|urn|magnet|ipfs):)")
_FILE = re.compile(r"^(?:file:)+")
_EXTENSION = re.compile(r"\.\w{1,5}$")
_DISGUISES = 16
"""So many layers are taken off a name; nobody writes more."""
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_OLD_BYTES = re.compile("[\udc80-\udcff]+")
_ENCODED = re.compile("(?:%[0-9A-Fa-f]{2})+|%[uU]([0-9A-Fa-f]{4})")
_MARKS = re.compile("[?#]")
_NOTHING = " "
"""What a name is folded to of which nothing is left."""


def is_utf8(text: str) -> bool:
    """Whether a name, as Python gives it, is UTF-8 on disk."""
    return _NOT_UTF8.search(text) is None


def is_telling(path: str) -> bool:
    """Whether a path may mean another one, as an address does, or one with backslashes."""
    return any(character in unicodedata.normalize("NFKC", path) for character in _TELLING)


def is_plain(names: Collection[str]) -> bool:
    """Whether each of `names`, folded, is one name and no other: nothing in them takes a closer look."""
    lines = "\n".join(names)
    is_one_a_line = lines.count("\n") == len(names) - 1
    return is_one_a_line and lines.isascii() and not any(character in lines for character in f"{_TELLING}/")


def fold_plain(names: Sequence[str]) -> list[str]:
    """Each of `names` folded, all of which are plain."""
    folded = "\n".join(names).translate(_PLAIN).split("\n")
    return [key or _NOTHING for key in folded] if "" in folded else folded


def are_folded(names: Collection[str]) -> bool:
    """Whether `names`, all of which are plain, are folded as they stand."""
    lines = "\n".join(names)
    return lines.translate(_PLAIN) == lines


def parts_of(path: str) -> tuple[str, ...]:
    """The folded names that a path, or a name that is one in disguise, is made of.

    Raises ValueError when it climbs out of where it starts.
    """
    # Each name by itself, so that one of nothing but white space is a name all the same.
    folded = "/".join((_folded(name) or _NOTHING) if name else "" for name in path.split("/"))
    parts: list[str] = []
    for part in (_FILE.sub("", each) for each in _SEPARATORS.split(folded)):
        if part == "..":
            if not parts:
                raise ValueError(path)
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return tuple(parts)


def readings_of(path: str) -> list[tuple[str, ...]]:
    """All that a path may be taken for, folded: as it stands, and without an address's query or fragment."""
    found = []
    for text in (path, *_without_query(path)):
        with suppress(ValueError):
            found.append(parts_of(text))
    return [parts for parts in dict.fromkeys(found) if parts]


def says_nothing(path: str) -> bool:
    """Whether nothing is left of a path but white space and quotes."""
    return not _squeezed(path)


def is_absolute(path: str) -> bool:
    """Whether a path that has no slash in front may still mean an absolute one, or an address, written otherwise."""
    return _ABSOLUTE.match(_folded(path)) is not None


def _folded(text: str) -> str:
    for _ in range(_DISGUISES):  # what one step uncovers, another one may have to read
        before, text = text, _squeezed(_undisguised(_visible(text)))
        if text == before:
            break
    return text


def _visible(text: str) -> str:
    """Without what can't be seen."""
    return (
        text if text.isprintable() else "".join(each for each in text if unicodedata.category(each) not in _INVISIBLE)
    )


def _squeezed(text: str) -> str:
    """Without what is put around or between words, either."""
    text = text.translate(_IGNORED)
    return "".join(text.split()) if text.isprintable() else "".join(_visible(text).split())


def _undisguised(text: str) -> str:
    """One layer of encodings taken off, in one letter case and Unicode form."""
    text = unicodedata.normalize("NFKC", _OLD_BYTES.sub(_from_latin_1, text))
    for _ in range(_DISGUISES):  # all of it, or an entity with an encoded character would be read as another one
        before, text = text, _ENCODED.sub(_decoded, text)
        if text == before:
            break
    with suppress(ValueError):  # the number of a character that nobody can count to
        text = html.unescape(text)
    text = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", text).replace("i\u0307", "i")


def _decoded(encoded: re.Match[str]) -> str:
    """Percent-encoding undone; bytes that are no UTF-8 are read as Latin-1."""
    if encoded[1]:  # as JavaScript's escape() writes it
        return chr(int(encoded[1], 16))
    return _OLD_BYTES.sub(_from_latin_1, unquote_to_bytes(encoded[0]).decode("utf-8", "surrogateescape"))


def _from_latin_1(data: re.Match[str]) -> str:
    return data[0].encode("utf-8", "surrogateescape").decode("latin-1")


def _without_query(path: str) -> Iterator[str]:
    """`path` up to each ``?`` or ``#`` that may be the one that ends a file's name in an address.

    A ``?`` in the middle of a title is none: before the real one, the name has its extension, or behind it stands ``=``
    or one plain word.
    """
    for _ in range(_DISGUISES):
        before, path = path, _undisguised(path)
        if path == before:
            break
    for mark in islice(_MARKS.finditer(path), _DISGUISES):
        name, query = path[: mark.start()], path[mark.end() :]
        is_plain_word = mark[0] == "?" and re.fullmatch(r"\w*", _squeezed(query))
        if name and (_EXTENSION.search(name.rstrip()) or "=" in query or is_plain_word):
            yield name
