"""Try mutants that nobody chose: ``python -m veza_ops_tests.mutants.sampler [--seed N] [--number N] [--file F]``.

Fails when one survives all tests that execute its line and isn't known as equivalent. Without --file, the result is
written to docs/sampled-mutants.md.
"""

import argparse
import ast
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from veza_ops_tests.mutants.equivalents import EQUIVALENTS
from veza_ops_tests.mutants.operators import Change, changes_in
from veza_ops_tests.mutants.record import Kept, is_kept, record
from veza_ops_tests.mutants.trial import Copies

PROJECT = Path(__file__).parent.parent.parent
PACKAGE = PROJECT / "veza_ops"
TABLE = PROJECT / "docs" / "sampled-mutants.md"
SAMPLED = (
    *("storage/*.py", "tracks/*.py", "*/rules.py", "cleanup/marking.py"),
    *("archive.py", "evidence.py", "places.py", "recording.py", "pace.py", "looks.py", "witnesses.py"),
)
AT_ONCE = 2


_HEAD = """# Sampled mutants

Beside the guards of [mutants.md](mutants.md), which are chosen, mutants that nobody chose: standard operators
(`veza_ops_tests/mutants/operators.py`) change the code at random places, and the tests that execute the line are run,
the fastest first. `make mutants-sampled` does it, and writes this. One that survives gets a test, or its code is
deleted, or it stands below with the reason why it changes nothing that is promised.
"""


@dataclass(frozen=True, eq=False)
class Mutant:
    """A file of veza_ops with one change."""

    key: str
    """Says which change, whatever else is changed in the file."""
    file: str
    change: Change
    tree: ast.Module

    @property
    def source(self) -> str:
        """The file with the change."""
        return self.change.applied_to(self.tree)

    @property
    def instead(self) -> str:
        """What stands there now."""
        return _on_one_line(self.change.new) if self.change.new else "nothing"


def _on_one_line(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())[:100]


def mutants_of(file: str) -> Iterator[Mutant]:
    """All mutants of a file."""
    tree = ast.parse((PACKAGE / file).read_text())
    known: Counter[str] = Counter()
    for change in changes_in(tree):
        key = f"{file} {change.where or 'module'}: {change.operator}: {_on_one_line(change.old)}"
        known[key] += 1
        yield Mutant(f"{key} #{known[key]}" if known[key] > 1 else key, file, change, tree)


def sample(seed: int, number: int, files: Sequence[str]) -> list[Mutant]:
    """`number` mutants, of each file by the root of how many it has, and in it as if at random.

    A larger sample holds the smaller, and most of a sample stays when the code changes.
    """
    drawn: list[tuple[float, Mutant]] = []
    for file in files:
        mutants = sorted(mutants_of(file), key=lambda mutant: sha256(f"{seed} {mutant.key}".encode()).digest())
        drawn += [((at + 0.5) / len(mutants) ** 0.5, mutant) for at, mutant in enumerate(mutants)]
    return [mutant for _, mutant in sorted(drawn, key=lambda each: each[0])[:number]]


def tests_for(mutant: Mutant, kept: Kept, enough: float) -> tuple[list[str], float]:
    """The tests that may notice a mutant, the fastest first, and what they take: `enough` seconds at most."""
    taken: list[str] = []
    seconds = 0.0
    for test in kept.tests_of(mutant.file, mutant.change.line, mutant.change.statement):
        seconds += kept.seconds[test]
        if seconds > enough and taken:
            break
        taken.append(test)
    return taken, min(seconds, enough)


def tried(mutant: Mutant, kept: Kept, copies: Copies, enough: float) -> str:
    """The test that notices a mutant, or nothing; it is printed as well."""
    tests, seconds = tests_for(mutant, kept, enough)
    test = copies.noticed_by({mutant.file: mutant.source}, tests, seconds) if tests else ""
    if test and test not in kept.seconds and _is_noticed_without(mutant, tests, seconds, copies):
        test = ""
    where = f"{mutant.file}:{mutant.change.line}"
    print(f"{'noticed' if test else 'SURVIVED':9} {where} {mutant.key} -> {mutant.instead} [{test}]", flush=True)
    return test


def _is_noticed_without(mutant: Mutant, tests: Sequence[str], seconds: float, copies: Copies) -> bool:
    """Whether the tests come to a bad end on the file as it is too: a time limit is no word on the mutant then."""
    return bool(copies.noticed_by({mutant.file: ast.unparse(mutant.tree)}, tests, seconds))


def without_any(mutants: Iterable[Mutant], tests: Collection[str], kept: Kept, copies: Copies) -> str:
    """The tests that fail on the package as it is, written in the same way as its mutants are."""
    sources = {mutant.file: ast.unparse(mutant.tree) for mutant in mutants}
    return copies.noticed_by(sources, sorted(tests), sum(kept.seconds[test] for test in tests), all_of_them=True)


def main(seed: int, number: int, words: str, enough: float) -> int:
    """Try `number` mutants, of the files that have `words` in their name, each by tests that take `enough` seconds."""
    if not is_kept():
        record()
    kept = Kept()
    files = sorted({str(path.relative_to(PACKAGE)) for each in SAMPLED for path in PACKAGE.glob(each)})
    chosen = sample(seed, number, [file for file in files if words in file])
    others = [mutant for mutant in chosen if mutant.key not in EQUIVALENTS]
    with tempfile.TemporaryDirectory(prefix="veza-ops-mutants-") as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        copies = Copies(Path(folder), AT_ONCE)
        results = pool.map(lambda mutant: tried(mutant, kept, copies, enough), others)
        found = dict(zip(others, results, strict=True))
        tests = kept.seconds.keys() & found.values()
        false = without_any(others, tests, kept, copies) if tests else ""
    survivors = [mutant.key for mutant, test in found.items() if not test]
    equivalent = {mutant.key: EQUIVALENTS[mutant.key] for mutant in chosen if mutant.key in EQUIVALENTS}
    print(f"{len(chosen)} sampled, {len(equivalent)} equivalent, {len(survivors)} survived")
    if false:
        print(f"These fail without any mutant:\n{false}")
    if not words and not survivors and not false:
        TABLE.write_text(_HEAD + _result(seed, chosen, equivalent))
    return 1 if survivors or false else 0


def _result(seed: int, chosen: Sequence[Mutant], equivalent: Mapping[str, str]) -> str:
    by_file = Counter(mutant.file for mutant in chosen)
    same = Counter(mutant.file for mutant in chosen if mutant.key in equivalent)
    rows = [
        f"| `{file}` | {by_file[file]} | {by_file[file] - same[file]} | {same[file]} |\n" for file in sorted(by_file)
    ]
    total = f"| **all** | {len(chosen)} | {len(chosen) - len(equivalent)} | {len(equivalent)} |\n"
    reasons = [f"| `{key.replace('|', chr(92) + '|')}` | {why} |\n" for key, why in sorted(equivalent.items())]
    return (
        f"\nSeed {seed}, {len(chosen)} mutants:\n\n| File | Sampled | Noticed | Equivalent |\n|---|---|---|---|\n"
        f"{''.join(rows)}{total}\nNone survived. Those that are equivalent:\n\n| Mutant | Why |\n|---|---|\n"
        f"{''.join(reasons)}"
    )


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Try mutants that nobody chose.")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--number", type=int, default=250)
    arguments.add_argument("--file", default="", help="only files that have this in their name")
    arguments.add_argument("--seconds", type=float, default=60, help="what the tests of one mutant may take together")
    given = arguments.parse_args()
    sys.exit(main(given.seed, given.number, given.file, given.seconds))
