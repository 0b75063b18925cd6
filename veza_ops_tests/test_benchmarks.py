"""What the benchmarks make of their measurements: whether a bar is met, how a backlog grows, what goes into a page."""

from pathlib import Path

import pytest

from benchmarks.backlog import Cleaned, growth
from benchmarks.measure import Cost
from benchmarks.profiles import PARTS, by_kind, parts_of
from benchmarks.report import DOCS, Report, Row, Table
from benchmarks.server import Statement, Toll


@pytest.mark.parametrize(
    ("row", "met"),
    [
        pytest.param(Row("", "s", [1, 5, 1.2], "", [1, 1, 9], limit=1.2), "yes", id="the ratio of the medians"),
        pytest.param(Row("", "s", [1.3], "", [1], limit=1.2), "no", id="too slow"),
        pytest.param(Row("", "s", [1], "", [20], better="more", limit=20), "yes", id="just so many times faster"),
        pytest.param(Row("", "s", [1], "", [19], better="more", limit=20), "no", id="not so many times faster"),
        pytest.param(Row("", "s", [0.5, 1.1, 0.5], limit=1), "yes", id="a median without a reference"),
        pytest.param(Row("", "s", [1.4], "", [1], limit=1.5, is_of_ratio=False), "yes", id="the value all the same"),
        pytest.param(Row("", "s", [1], "", [1]), "", id="no bar"),
    ],
)
def test_a_bar_is_met_by_the_median(row: Row, met: str) -> None:
    assert row.met == met


def test_tables_replace_what_stands_between_their_marks_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    marks = "<!-- measured{0}: made by `make bench`, don't edit -->\n\n{1}\n\n<!-- end of what was measured{0} -->"
    others = marks.format(" elsewhere", "another table")
    page.write_text(f"before\n{marks.format('', 'an old table')}\nbetween\n{others}\nafter")
    report = Report(tables=[Table("Parts:", ["Part", "Seconds"], [["one \\1", "2.00"]])])
    report.write(page)
    report.write(page)
    assert page.read_text() == f"before\n{marks.format('', report.text())}\nbetween\n{others}\nafter"
    assert "| one \\1 | 2.00 |" in page.read_text()


def test_a_page_without_the_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="has 0 places"):
        Report().write(page)


@pytest.mark.parametrize(
    ("page", "part", "made_by"),
    [
        ("performance.md", "", "make bench"),
        ("performance.md", " in a bucket", "make bench"),
        ("performance.md", " in a bucket of a million keys", "make bench-million"),
        ("performance.md", " at rest", "make bench-at-rest"),
        ("scale.md", " of a backlog", "make bench-backlog"),
    ],
)
def test_each_table_has_its_place_in_the_documentation(page: str, part: str, made_by: str) -> None:
    text = (DOCS / page).read_text()
    assert text.count(f"<!-- measured{part}: made by `{made_by}`, don't edit -->") == 1
    assert text.count(f"<!-- end of what was measured{part} -->") == 1


def test_growth_is_told_as_a_share_of_linear() -> None:
    small = Cleaned(Toll(Cost(2.0, 1.0, 100.0), 0.5, 10.0, 50), 0.1)
    large = Cleaned(Toll(Cost(10.0, 10.0, 150.0), 6.0, 100.0, 500), 0.2)
    rows = {name: others for name, *others in growth(100, small, 1_000, large).rows}
    assert rows["whole process"] == ["2.00 s", "10.00 s", "0.50"]
    assert rows["the server's processor time"][-1] == "1.20"
    assert rows["dead rows left"] == ["50", "500", "1.00"]
    assert rows["peak memory"] == ["100 MB", "150 MB", ""]


def test_statements_are_added_up_by_kind() -> None:
    statements = [
        Statement("WITH held AS (SELECT FROM t), written AS (UPDATE t SET a = $1) SELECT * FROM written", 10, 2.0),
        Statement("SELECT id FROM t WHERE (t.created_at, t.id) <= ($1, $2)", 1, 0.5),
        Statement(
            "SELECT id FROM t WHERE (t.created_at, t.id) <= ($1, $2) AND (t.created_at, t.id) > ($3, $4)", 1, 0.5
        ),
        Statement("SELECT lead($1) OVER (ORDER BY created_at) FROM t", 1, 0.25),
        Statement("SELECT file_path FROM t ORDER BY created_at DESC LIMIT $1", 1, 0.125),
        Statement("COMMIT", 12, 0.0),
    ]
    assert by_kind(statements) == [
        ("the layout of the batches", 1, 0.25),
        ("the guarded write", 10, 2.0),
        ("reading the rows", 2, 1.0),
        ("the sample of playable tracks", 1, 0.125),
        ("all others", 12, 0.0),
    ]


def test_the_parts_of_a_profile_are_its_whole_time() -> None:
    functions = {
        ("/there/veza_ops/tracks/table.py", 7, "read"): (1, 1, 0.5, 2.0, None),
        ("/there/elsewhere/table.py", 7, "read"): (1, 1, 3.0, 3.0, None),
        ("~", 0, "<built-in method builtins.exec>"): (1, 1, 1.5, 5.0, None),
    }
    parts = dict(parts_of(functions))
    assert parts["reading the rows"] == 2.0
    assert sum(parts.values()) == 5.0
    assert len(parts) == len(PARTS) + 1


def test_the_functions_of_a_profile_are_there() -> None:
    """A part whose function was renamed would be empty, and nobody would notice."""
    package = Path(DOCS.parent / "veza_ops")
    ours = {path.name for path in package.rglob("*.py")}
    for folder, file, name in (each for names in PARTS.values() for each in names):
        if file in ours:
            sources = [path.read_text() for path in package.rglob(file) if path.parent.name == folder]
            assert any(f"def {name}(" in source for source in sources), (folder, file, name)
