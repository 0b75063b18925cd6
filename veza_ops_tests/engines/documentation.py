"""What docs/scale-out.md has people do, for tests to do the same."""

import re

from veza_ops_tests.e2e.deployment import ROOT

_PAGE = (ROOT / "docs" / "scale-out.md").read_text()


def run_config(executor: str) -> str:
    """The run config, as YAML, of the page's example for an executor."""
    (found,) = re.findall(
        rf"^```yaml\n(execution:\n  config:\n    {executor}:\n.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL
    )
    return str(found)


def worker_command() -> str:
    """The command line that starts a worker of Celery."""
    (found,) = re.findall(r"^dagster-celery worker start .*$", _PAGE, re.MULTILINE)
    return str(found)


def replaced(text: str, changes: dict[str, str]) -> str:
    """The text with each of these words replaced, all of which it must have."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text
