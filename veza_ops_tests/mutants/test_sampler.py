"""A mutant that nobody chose is a change of the code, and can be made again by its name."""

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from veza_ops_tests.mutants import sampler
from veza_ops_tests.mutants.equivalents import EQUIVALENTS
from veza_ops_tests.mutants.sampler import mutants_of, sample

CODE = '''
"""What people read."""
SIZE: int = 3

def first(names: list[str], size: int = SIZE) -> str:
    """The first name."""
    found = ""
    for name in names[:size]:
        if name and not name.startswith("."):
            found = name
            break
    if not found:
        raise ValueError("there is no name")
    return found
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one file, of which mutants are made."""
    (tmp_path / "names.py").write_text(CODE)
    monkeypatch.setattr(sampler, "PACKAGE", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("package")
def test_each_mutant_is_another_program_with_a_name_of_its_own() -> None:
    mutants = list(mutants_of("names.py"))
    sources = [mutant.source for mutant in mutants]
    assert len({mutant.key for mutant in mutants}) == len(mutants)
    assert ast.unparse(ast.parse(CODE)) not in sources
    for source in sources:
        compile(source, "names.py", "exec")


@pytest.mark.usefixtures("package")
def test_what_only_people_read_is_left_as_it_is() -> None:
    for mutant in mutants_of("names.py"):
        assert "What people read." in mutant.source
        assert "The first name." in mutant.source
        assert "list[str]" in mutant.source
        assert "there is no name" in mutant.source or "raise" not in mutant.source


def test_mutants_of_a_file_that_are_made_side_by_side_have_one_change_each() -> None:
    mutants = list(mutants_of("recording.py"))
    one_by_one = [mutant.source for mutant in mutants]
    with ThreadPoolExecutor(2) as pool:
        side_by_side = list(pool.map(lambda mutant: mutant.source, mutants))
    assert side_by_side == one_by_one


def test_a_mutant_has_the_same_name_when_other_code_has_changed(package: Path) -> None:
    before = {mutant.key for mutant in mutants_of("names.py")}
    (package / "names.py").write_text(f"import os\n\nOTHER = 1\n{CODE}")
    assert before < {mutant.key for mutant in mutants_of("names.py")}


@pytest.mark.usefixtures("package")
def test_a_larger_sample_of_the_same_seed_holds_the_smaller_one() -> None:
    small, large = (sample(1, number, ["names.py"]) for number in (5, 10))
    assert [mutant.key for mutant in large[:5]] == [mutant.key for mutant in small]
    assert [mutant.key for mutant in sample(2, 5, ["names.py"])] != [mutant.key for mutant in small]


def test_what_is_known_as_equivalent_can_still_be_made() -> None:
    files = {key.partition(" ")[0] for key in EQUIVALENTS}
    assert EQUIVALENTS.keys() <= {mutant.key for file in files for mutant in mutants_of(file)}
