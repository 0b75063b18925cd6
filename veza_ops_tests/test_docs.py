"""The run configs and components in the documentation are those that the jobs and dg take."""

import json
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from veza_ops.component import VezaOps
from veza_ops.definitions import defs

ROOT = Path(__file__).parent.parent
EXAMPLE = re.compile(r"echo '(\{.*\})' > (\S+)\n(?:dagster job execute -m veza_ops.definitions -j (\w+) -c (\S+)\n)")
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
COMPONENTS = [
    pytest.param(found, id=page.name)
    for page in PAGES
    for found in re.findall(
        r"^type: veza_ops\.component\.VezaOps\n\nattributes:\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
    )
]
EXAMPLES = [
    pytest.param(found[2], json.loads(found[0]), id=f"{page.name}-{found[1]}")
    for page in PAGES
    for found in EXAMPLE.findall(page.read_text())
]


@pytest.mark.parametrize(("job", "config"), EXAMPLES)
def test_the_run_config_of_an_example_is_valid(job: str, config: dict[str, Any]) -> None:
    assert dg.validate_run_config(defs.resolve_job_def(job), config)


def test_examples_are_found() -> None:
    assert len(EXAMPLES) >= 3
    assert len(COMPONENTS) >= 2


@pytest.mark.parametrize("attributes", COMPONENTS)
def test_a_component_of_an_example_is_valid(attributes: str) -> None:
    component: VezaOps = VezaOps.resolve_from_yaml(attributes)
    loaded: dg.Definitions = component.build_defs(dg.ComponentTree.for_test().load_context)
    assert loaded.resolve_job_def("cleanup_orphan_tracks")
