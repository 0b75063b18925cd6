"""Text as people may be shown it: on one line, of a sensible length, and without secrets.

What a setting holds is a secret until it has been found to be what the setting is for: a password may have been put
into any of them, by mistake or on purpose.
"""

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import unquote

HIDDEN = "***"
_BRIEF = 1000
_SHORTEST = 4
"""A secret of fewer characters isn't looked for, or it would be found in every other word."""

_WORD = re.compile(r"\S+")
_IN_QUERY = re.compile(
    r"(?i)(?<=[?&])((?:(?:ssl)?password|(?:x-amz-|x-goog-)?(?:signature|credential|security-token)|sig|awsaccesskeyid)=)"
    r"[^\s&]+"
)
"""In the query of an address, or of its end: a password, or by what somebody signed it for whoever has it."""
_PASSWORD_OF_LIBPQ = re.compile(r"(?i)(?<!\S)((?:ssl)?password *= *)('(?:[^'\\]|\\.)*'|\S+)")
"""The option of PostgreSQL's addresses in its other form."""

_SCHEMES = (
    *("postgresql", "postgres", "mysql", "mariadb", "sqlite", "mssql", "oracle", "redis"),
    *("mongodb", "cockroachdb", "http", "https", "ftp", "sftp", "ssh", "smb"),
    *("webdav", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"),
    *("adl", "oci", "oss", "r2", "hdfs", "webhdfs", "memory", "file"),
)

_secrets: set[str] = set()
_revealed: set[str] = set()


def keep_secret(value: str) -> None:
    """From now on, `value` is shown nowhere, unless it was revealed."""
    _secrets.update(each for each in _forms(value) if len(each) >= _SHORTEST)
    _forget_revealed()


def reveal(path: str) -> None:
    """`path` was found to be what its setting is for, and is no secret any more."""
    _revealed.add(os.path.normpath(path))
    _forget_revealed()


def _forget_revealed() -> None:
    _secrets.difference_update([each for each in tuple(_secrets) if os.path.normpath(each) in _revealed])


def _forms(value: str) -> set[str]:
    """A value as it stands, as what is made of it on the way to a file or a server, and the password in it."""
    plain = value.strip()
    path = os.path.expanduser(plain.partition("file:")[2] if plain.startswith("file:") else plain)
    passwords = [word[span].partition(":")[2] for word in _WORD.findall(plain) if (span := _login(word))]
    passwords += [found[2].strip("'") for found in _PASSWORD_OF_LIBPQ.finditer(plain)]
    forms = {value, plain, *passwords, *map(unquote, passwords)}
    if path.startswith("/"):
        path = f"/{path.lstrip('/')}"
        forms |= {path, re.sub(r"/+(?:\./+)*", "/", path), os.path.normpath(path)}
    return {each for form in forms if form for each in (form, repr(form)[1:-1])}


def _login(word: str) -> slice | None:
    """Where somebody logs in, in an address of any kind, up to the last @: a password need not be percent-encoded.

    In a word without spaces, and in one pass: whatever a server or a row says may come here.
    """
    if (end := word.rfind("@")) < 0:
        return None
    start = word.find(":/", 0, end)
    while start >= 0:
        begin = start + 1
        while word[begin] == "/":
            begin += 1
        slash, colon = word.find("/", begin, end), word.find(":", begin, end)
        is_scheme = start > 1 and word[start - 2 : start].isalnum()  # a drive has one letter
        # What stands before a slash is a user only with its password.
        if is_scheme and begin < end and (slash < 0 or -1 < colon < slash):
            return slice(begin, end)
        start = word.find(":/", begin, end)
    return None


def _without_login(word: re.Match[str]) -> str:
    text = word[0]
    span = _login(text)
    return text if span is None else f"{text[: span.start]}{HIDDEN}{text[span.stop :]}"


def scheme(name: str) -> str:
    """The kind of an address, if it is one that people know: of any other, it may be the beginning of a secret."""
    return name if name.removeprefix("jdbc:") in _SCHEMES else HIDDEN


def has_login(text: str) -> bool:
    """Whether there is an address in it with a user or a password."""
    return any(_login(word) for word in _WORD.findall(text))


def holds_secret(text: str) -> bool:
    """Whether something in it is to be hidden."""
    return hidden(text) != text


def hidden(text: str) -> str:
    """`text` without the secrets that are known, and without the logins of addresses."""
    # A copy: another thread may learn of secrets meanwhile.
    for secret in sorted((each for each in tuple(_secrets) if each in text), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    if ":/" in text:
        text = _WORD.sub(_without_login, text)
    if "=" in text:
        text = _PASSWORD_OF_LIBPQ.sub(rf"\1{HIDDEN}", _IN_QUERY.sub(rf"\1{HIDDEN}", text))
    return text


def shown(text: str, longest: int | None = None) -> str:
    """`text` without secrets, what can't be printed or could forge a line of a log escaped, in `longest` characters."""
    text = hidden(text)  # before it is cut, or the half of a secret may be left
    if longest is not None:
        text = cut(text, longest)
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def all_shown(texts: Sequence[str]) -> list[str]:
    """Each of them as `shown`: at once where there is nothing to hide or to escape in any, as in most names."""
    together = " ".join(texts)
    is_plain = together.isprintable() and hidden(together) == together
    return list(texts) if is_plain else list(map(shown, texts))


def quoted(text: str) -> str:
    """The same in quotes, for what may begin or end with a space."""
    return repr(hidden(text))


def in_utc(seconds: float) -> str:
    """A time in seconds since the epoch, as PostgreSQL prints it; a file may have one that no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "microseconds")
    except (ValueError, OverflowError, OSError):
        return "unknown"


def brief(text: str) -> str:
    """What rows hold as a page shows it: cut where nobody would read on."""
    return shown(text) if len(text) <= _BRIEF else f"{shown(text, _BRIEF)} ({len(text)} characters)"


def cut(text: str, longest: int = _BRIEF) -> str:
    """`text`, which may be shown as it is, in `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
