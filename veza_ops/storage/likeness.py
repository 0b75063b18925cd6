"""Names that a person or another system would take for the same: one form for all that are alike.

Two names are alike when they fold to the same: letter case; Unicode form or compatibility form; white space,
zero-width characters, a byte order mark; percent-encoding and ``+``; HTML entities; quotes; ``file:`` before it; an
address's query behind it; backslashes for slashes, which make one name a path. What was written in bytes that are no
UTF-8 is read as Latin-1, as old programs wrote it.
"""

import html
import re
import unicodedata
from collections.abc import Collection, Sequence
from contextlib import suppress
from urllib.parse import unquote_to_bytes

_QUOTES = "\"'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2039\u203a\u00ab\u00bb\u2032\u2033\u2035\u2036"
# Takes no room on a screen, though Unicode counts it among the letters, marks or symbols.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))
_IGNORED = {ord(character): None for character in f"+{_QUOTES}{_BLANK}"}
_INVISIBLE = ("Cc", "Cf", "Zs", "Zl", "Zp")
# Any of these in a name takes a closer look; all else in ASCII is folded in one go.
_TELLING = "%&\\?#:"
_ASCII = [chr(code) for code in range(128)]
_PLAIN = {ord(each): each.lower() if each.isprintable() and each not in f"+ {_QUOTES}" else None for each in _ASCII}
_PLAIN[ord("\n")] = "\n"
_SEPARATORS = re.compile(r"[/\\]+")
_EXTENSION = re.compile(r"\.\w{1,5}$")
_DISGUISES = 16
"""So many layers are taken off a name; nobody writes more."""
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


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
    return is_one_a_line and lines.isascii() and not any(character in lines for character in _TELLING)


def fold_plain(names: Sequence[str]) -> list[str]:
    """Each of `names` folded, all of which are plain."""
    folded = "\n".join(names).translate(_PLAIN).split("\n")
    return [key or name for key, name in zip(folded, names, strict=True)] if "" in folded else folded


def parts_of(path: str) -> tuple[str, ...]:
    """The folded names that a path, or a name that is one in disguise, is made of.

    Raises ValueError when it climbs out of where it starts.
    """
    return _parts(_folded(path), path)


def readings_of(path: str) -> list[tuple[str, ...]]:
    """All that a path may be taken for, folded: as it stands, and without an address's query or fragment."""
    folded = _folded(path)
    found = []
    for text in (folded, _without_query(folded)):
        with suppress(ValueError):
            found.append(_parts(text, path))
    return [parts for parts in dict.fromkeys(found) if parts]


def is_absolute(path: str) -> bool:
    """Whether a path that has no slash in front may still mean an absolute one, written otherwise."""
    folded = _folded(path)
    folded = folded.removeprefix("file:")
    return folded.startswith(("/", "\\")) or (folded[1:2] == ":" and folded[2:3] in ("/", "\\"))


def _parts(folded: str, path: str) -> tuple[str, ...]:
    parts: list[str] = []
    for part in _SEPARATORS.split(folded):
        if part == "..":
            if not parts:
                raise ValueError(path)
            parts.pop()
        elif part not in ("", "."):
            parts.append(part.removeprefix("file:") or part)
    return tuple(parts)


def _folded(text: str) -> str:
    for _ in range(_DISGUISES):  # what one step uncovers, another one may have to read
        before = text
        text = html.unescape(_decoded(text))
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        text = text.translate(_IGNORED)
        if not text.isascii() or not text.isprintable() or " " in text:
            text = "".join(each for each in text if unicodedata.category(each) not in _INVISIBLE)
        if text == before:
            break
    return text


def _decoded(text: str) -> str:
    """Percent-encoding undone, and bytes that are no UTF-8 read as Latin-1."""
    if "%" not in text and is_utf8(text):
        return text
    data = unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _without_query(name: str) -> str:
    """A folded name up to the ``?`` or ``#`` that ends a file's name in an address; empty when there is none.

    A ``?`` in the middle of a title is none: before the real one, the name has its extension, or behind it stands ``=``
    or one plain word.
    """
    for at, character in enumerate(name):
        if character in "?#":
            before, after = name[:at], name[at + 1 :]
            plain_word = character == "?" and re.fullmatch(r"\w*", after)
            if before and (_EXTENSION.search(before) or "=" in after or plain_word):
                return before
    return ""
