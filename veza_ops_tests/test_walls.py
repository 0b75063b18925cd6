"""The walls between the rooms of the package hold by themselves: each contract notices what it is there for."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def lint(folder: Path) -> tuple[int, str]:
    """What import-linter says of the package in `folder`."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package that a test may spoil."""
    shutil.copytree(ROOT / "veza_ops", tmp_path / "veza_ops", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "folder", sorted((ROOT / "veza_ops").rglob("*/__init__.py")), ids=lambda path: path.parent.name
)
def test_the_door_of_a_room_is_a_sentence_and_loads_nothing(folder: Path) -> None:
    (statement,) = ast.parse(folder.read_text()).body
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Constant)


def test_the_package_keeps_to_its_walls(copy: Path) -> None:
    code, said = lint(copy)
    assert code == 0, said


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("tracks/row.py", "import veza_ops.evidence", "Nothing imports what stands above it"),
        ("steps.py", "import veza_ops.cleanup.rules", "Nothing imports what stands above it"),
        ("definitions.py", "import veza_ops.component", "Nothing imports what stands above it"),
        ("undo/rules.py", "import veza_ops.cleanup.rules", "Nothing imports what stands above it"),
        ("tracks/table.py", "import veza_ops.storage.files", "Nothing imports what stands above it"),
        ("stray.py", "", "Nothing imports what stands above it"),
        ("cleanup/rules.py", "import veza_ops.cleanup.asset", "In a job's folder"),
        ("audit/ops.py", "import veza_ops.audit.job", "In a job's folder"),
        ("tracks/row.py", "import veza_ops.tracks.table", "In the folder of Veza's database"),
        ("storage/layout.py", "import veza_ops.storage.walk", "In the folder of Veza's files"),
        ("alerts/message.py", "import veza_ops.alerts.sensor", "In the folder of the alerts"),
        ("cleanup/ops.py", "import sqlalchemy", "Veza's database is spoken to"),
        ("undo/rules.py", "import apprise", "People are told through"),
        ("cleanup/rules.py", "import dagster_shared", "Rules, Veza's database"),
        ("storage/look.py", "import dagster", "Rules, Veza's database"),
        ("tracks/row.py", "import dagster", "Rules, Veza's database"),
        ("cleanup/rules.py", "import veza_ops.steps", "Rules, Veza's database"),
    ],
)
def test_an_import_through_a_wall_is_named(copy: Path, module: str, line: str, broken: str) -> None:
    with (copy / "veza_ops" / module).open("a") as file:
        file.write(f"\n{line}\n")
    code, said = lint(copy)
    assert code == 1, said
    assert "BROKEN" in next(each for each in said.splitlines() if each.startswith(broken))
