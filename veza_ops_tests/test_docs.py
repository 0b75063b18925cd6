"""The run configs in the documentation are those that the jobs take."""

import json
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from veza_ops.definitions import defs

ROOT = Path(__file__).parent.parent
EXAMPLE = re.compile(r"echo '(\{.*\})' > (\S+)\n(?:dagster job execute -m veza_ops.definitions -j (\w+) -c (\S+)\n)")
EXAMPLES = [
    pytest.param(found[2], json.loads(found[0]), id=f"{page.name}-{found[1]}")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for found in EXAMPLE.findall(page.read_text())
]


@pytest.mark.parametrize(("job", "config"), EXAMPLES)
def test_the_run_config_of_an_example_is_valid(job: str, config: dict[str, Any]) -> None:
    assert dg.validate_run_config(defs.resolve_job_def(job), config)


def test_examples_are_found() -> None:
    assert len(EXAMPLES) >= 3
