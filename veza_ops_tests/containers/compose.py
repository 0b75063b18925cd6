"""deploy/compose.yaml, as far as its services can be run without an engine."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dagster_shared.yaml_utils import load_yaml_from_path

_VARIABLE = re.compile(r"\$\{(\w+)(:\?|:-)?([^}]*)\}")


class Volume(NamedTuple):
    """Something of the machine's that a service sees."""

    source: str
    """The name of a volume, or a folder."""
    target: str
    read_only: bool


class Service(NamedTuple):
    """What is run, as whom, and with what."""

    name: str
    command: list[str]
    user: str | None
    environment: dict[str, str]
    volumes: list[Volume]


def read(path: Path, settings: Mapping[str, str]) -> dict[str, Service]:
    """The services that are run from our image, with `settings` for the variables in the file.

    Raises KeyError for a variable that the file demands and nobody sets.
    """
    parsed: Any = load_yaml_from_path(str(path))
    return {
        name: Service(
            name,
            shlex.split(service["command"]),
            service.get("user"),
            dict(_environment(service["environment"], settings)),
            [_volume(_fill_in(text, settings)) for text in service.get("volumes", [])],
        )
        for name, service in parsed["services"].items()
        if service["image"] == "veza-ops"
    }


def _environment(given: Mapping[str, str | None], settings: Mapping[str, str]) -> list[tuple[str, str]]:
    handed_on = {
        name: settings.get(name) if value is None else _fill_in(value, settings) for name, value in given.items()
    }
    return [(name, value) for name, value in handed_on.items() if value is not None]


def _volume(text: str) -> Volume:
    source, target, *options = text.split(":")
    return Volume(source, target, options == ["ro"])


def _fill_in(text: str, settings: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name, kind, otherwise = found.groups()
        if settings.get(name):
            return settings[name]
        if kind == ":?":
            raise KeyError(f"{name} {otherwise}")
        return str(otherwise)

    return _VARIABLE.sub(value, text)
