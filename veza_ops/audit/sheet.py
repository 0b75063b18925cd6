"""What an audit found, as a table for a spreadsheet (RFC 4180)."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

COLUMNS = ("finding", "id", "path", "size", "expected_size", "modified", "found_at", "why")

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What spreadsheets take for the beginning of a formula, and would compute (OWASP, "CSV injection")."""


def lines(found: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[bytes]:
    """The lines of the sheet: of rows of lists, each with what was found of it."""
    yield _line(COLUMNS)
    for finding, row in found:
        values = {"finding": finding, **row, "path": row.get("path") or row.get("file_path")}
        yield _line([_cell(values.get(name)) for name in COLUMNS])


def _cell(value: object) -> object:
    """A text that isn't computed: a mark before it says that it is one."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _line(cells: Iterable[object]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode("utf-8", "backslashreplace")  # the name of a file on disk need not be UTF-8
