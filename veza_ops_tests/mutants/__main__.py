"""Take out each guard in turn and run its tests: ``python -m veza_ops_tests.mutants [WORDS]``.

Fails when a guard is not where the table says, or when its tests pass without it. With WORDS, only the guards that
have them in their name; without, the result is written to docs/mutants.md.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from veza_ops_tests.mutants.guards import GUARDS, Guard

PROJECT = Path(__file__).parent.parent.parent
TABLE = PROJECT / "docs" / "mutants.md"
COPIED = ("veza_ops", "veza_ops_tests", "demo", "docs", "pyproject.toml", "workspace.yaml", "dagster.yaml", "README.md")
AT_ONCE = 2
_FAILED = re.compile(r"^(?:FAILED|ERROR) veza_ops_tests/(\S+?)(?:\[.*)?(?: - .*)?$", re.MULTILINE)
_HEAD = """# Guard mutation

Every guard is taken out in turn, in a copy of the package, and the tests that belong to it are run: a guard whose
absence no test notices is a promise that nobody keeps. `make mutants` does it, and writes this table. The guards and
their tests stand in `veza_ops_tests/mutants/guards.py`.

| Guard that was taken out | Where | Test that noticed first |
|---|---|---|
"""


def misplaced() -> Iterator[str]:
    """The guards that aren't exactly once where the table says."""
    for guard in GUARDS:
        found = (PROJECT / "veza_ops" / guard.file).read_text().count(guard.text)
        if found != 1:
            yield f"{guard.name}: its text stands {found} times in veza_ops/{guard.file}, not once"


def noticed_by(guard: Guard) -> str:
    """The test that fails without the guard, or nothing. Raises RuntimeError when the tests could not run at all."""
    with tempfile.TemporaryDirectory(prefix="veza-ops-mutant-") as folder:
        for name in COPIED:
            source = PROJECT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, Path(folder, name))
        mutant = Path(folder, "veza_ops", guard.file)
        mutant.write_text(mutant.read_text().replace(guard.text, guard.without))
        compile(mutant.read_text(), f"{guard.file}, without: {guard.name}", "exec")
        tests = [f"veza_ops_tests/{word}" if ".py" in word else word for word in shlex.split(guard.tests)]
        run = subprocess.run(
            # As a module, so that the copy comes before the package that is installed.
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no", *tests],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": folder},
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode not in (0, 1):
            said = f"{run.stdout[-2000:]}{run.stderr[-2000:]}"
            raise RuntimeError(f"{guard.name}: its tests could not run (exit {run.returncode}):\n{said}")
        return "" if run.returncode == 0 else "".join(_FAILED.findall(run.stdout)[:1]) or "the whole file"


def main(words: str) -> int:
    """Take out the guards that have `words` in their name."""
    if lost := list(misplaced()):
        print(*lost, sep="\n")
        return 1
    chosen = [guard for guard in GUARDS if words in guard.name]
    rows, survivors = [], []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for guard, test in zip(chosen, pool.map(noticed_by, chosen), strict=True):
            print(f"{'noticed' if test else 'SURVIVED':9} {guard.name}  {test}", flush=True)
            rows.append(f"| {guard.name} | `{guard.file}` | `{test or 'none'}` |\n")
            survivors += [] if test else [guard.name]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} guards are proven")
    if not words:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(_HEAD + "".join(rows) + f"\n{len(rows) - len(survivors)} of {len(rows)} were noticed.\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
