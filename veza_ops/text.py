"""Text as people may be shown it: on one line, of a sensible length, and without secrets.

What a setting holds is a secret until it has been found to be what the setting is for: a password may have been put
into any of them, by mistake or on purpose.
"""

import os
import re
from urllib.parse import unquote

HIDDEN = "***"
_BRIEF = 1000
_SHORTEST = 4
"""A secret of fewer characters isn't looked for, or it would be found in every other word."""

_LOGIN = re.compile(r"(?<=:/)(/{0,2})(?:[^\s/:@]*:\S*|[^\s/@]+)@")
"""Who logs in, in an address of any kind, up to the last @: a password need not be percent-encoded."""
_PASSWORD = re.compile(r"(?i)(://\S*[?&](?:ssl)?password=|(?:^|\s)(?:ssl)?password=)[^\s&]+")
"""An option of PostgreSQL's addresses, in both of their forms."""

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
    _secrets.difference_update([each for each in _secrets if os.path.normpath(each) in _revealed])


def _forms(value: str) -> set[str]:
    """A value as it stands, without what means nothing in a path, and the password in it if it is an address."""
    logins = [login[0].rstrip("@").lstrip("/").partition(":")[2] for login in _LOGIN.finditer(value)]
    paths = {os.path.normpath(value)} if value.startswith("/") else set()
    return {value, value.strip(), *paths, *logins, *map(unquote, logins)} - {""}


def has_login(text: str) -> bool:
    """Whether there is an address in it with a user or a password."""
    return _LOGIN.search(text) is not None


def holds_secret(text: str) -> bool:
    """Whether something in it is to be hidden."""
    return hidden(text) != text


def hidden(text: str) -> str:
    """`text` without the secrets that are known, and without the logins of addresses."""
    for secret in sorted((each for each in _secrets if each in text), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    if "@" in text:
        text = _LOGIN.sub(rf"\1{HIDDEN}@", text)
    return _PASSWORD.sub(rf"\1{HIDDEN}", text) if "=" in text else text


def shown(text: str, longest: int | None = None) -> str:
    """`text` without secrets, what can't be printed or could forge a line of a log escaped, in `longest` characters."""
    text = hidden(text)
    if longest is not None:
        text = cut(text, longest)
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def quoted(text: str) -> str:
    """The same in quotes, for what may begin or end with a space."""
    return repr(hidden(text))


def brief(text: str) -> str:
    """What rows hold as a page shows it: cut where nobody would read on."""
    return shown(text if len(text) <= _BRIEF else f"{text[:_BRIEF]}… ({len(text)} characters)")


def cut(text: str, longest: int = _BRIEF) -> str:
    """`text`, which may be shown as it is, in `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
