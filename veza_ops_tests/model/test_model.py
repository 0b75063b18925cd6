"""Whatever happens in whatever order, the pipeline does what docs/guarantees.md says, and nothing else.

`VEZA_OPS_EXAMPLES` sets how many examples are tried; then they are others every time. A failure prints its steps.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from veza_ops_tests.conftest import new_folder
from veza_ops_tests.library import Library
from veza_ops_tests.model.machine import Machine, Stage

EXAMPLES = int(os.environ.get("VEZA_OPS_EXAMPLES", "0"))

AT_LENGTH = settings(
    max_examples=EXAMPLES or 8,
    stateful_step_count=25,
    deadline=None,  # a step may be two runs
    derandomize=not EXAMPLES,  # the suite tries the same ones every time
    database=None,
    print_blob=bool(EXAMPLES),
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],  # real runs
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for files and evidence, in memory if there is room: what is synced there is none of this test's."""
    folder = new_folder("veza-ops-model-")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_row_is_what_the_model_says_after_any_steps(library: Library, folder: Path) -> None:
    stage = Stage(library, folder)
    try:
        run_state_machine_as_test(cast("type[Machine]", lambda: Machine(stage)), settings=AT_LENGTH)
    finally:
        steps = [f"{times:6} {name}" for name, times in stage.steps.most_common()]
        print(f"{stage.examples:6} examples", *steps, sep="\n")
