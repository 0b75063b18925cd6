"""The names like another one that can be thought of without seeing what there is."""

import html
import os
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import quote, unquote_plus


def spellings(name: str) -> set[str]:
    """The names like `name` that can be thought of without seeing what there is."""
    found = {name}
    for _ in range(2):  # two at once
        found |= {form(each) for each in tuple(found) for form in _PLAINER}
    found |= {form(each) for each in tuple(found) for form in _OTHER_FORMS}
    found |= {f"{name}{suffix}" for suffix in (".part", ".tmp", ".partial", ".upload", ".crdownload", "~")}
    found |= {f".{name}", *(os.fsdecode(each.encode("latin-1", "ignore")) for each in tuple(found))}
    return {each for each in found if each and "/" not in each and "\0" not in each} - {name, ".", ".."}


_PLAINER: tuple[Callable[[str], str], ...] = (
    unquote_plus,
    html.unescape,
    lambda name: re.sub("[\u00a0\u200b-\u200f\u202f\u2060\ufeff]", "", name).strip(),
    lambda name: name.replace("\u00a0", " ").strip(" \t\n\r\"'\u2018\u2019\u201c\u201d"),
    lambda name: re.split("[?#]", name, maxsplit=1)[0].removeprefix("file:"),
    lambda name: unicodedata.normalize("NFKC", name),
)
_OTHER_FORMS: tuple[Callable[[str], str], ...] = (
    *(str.lower, str.upper, str.title, str.capitalize),
    lambda name: "".join((*os.path.splitext(name)[:1], os.path.splitext(name)[1].lower())),
    lambda name: "".join((*os.path.splitext(name)[:1], os.path.splitext(name)[1].upper())),
    *(lambda name, form=form: unicodedata.normalize(form, name) for form in ("NFC", "NFD")),
    lambda name: f"{name} ",
    lambda name: quote(name, errors="replace"),
    lambda name: name.replace(" ", "+"),
)
