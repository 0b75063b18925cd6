"""veza-ops for other people's code locations: the inventory as a component, set in a few lines of YAML."""

from collections.abc import Mapping
from typing import Annotated, Any

import dagster as dg
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from veza_ops.cleanup.job import EVERY_HOUR
from veza_ops.cleanup.ops import FindConfig, MarkConfig
from veza_ops.definitions import Settings, build_defs
from veza_ops.errors import ConfigurationError
from veza_ops.executors import IN_ONE_PROCESS
from veza_ops.resources import Alerts, Database, EvidenceStore, History, Storage

_SAYS_NO_VALUE = ConfigDict(hide_input_in_errors=True)
"""A value may have come from the environment, by a template in the wrong place."""


class Variable(dg.Model):
    """A reference to a variable of the environment, as in run config."""

    env: str


class Schedule(dg.Model, dg.Resolvable):
    """When the cleanup runs by the clock, in UTC, and whether it does before somebody switches it."""

    model_config = _SAYS_NO_VALUE

    cron: str = EVERY_HOUR
    enabled: bool = True


def _as_in(model: type[BaseModel], name: str) -> Any:
    """A field with the default and the description that it has in `model`, which checks its bounds later.

    With bounds here, a template would be no value for it.
    """
    field = model.model_fields[name]
    return Field(default=field.default, description=field.description)


def _given(context: dg.ResolutionContext, fields: BaseModel) -> dict[str, Any]:
    """The fields that YAML gives, with templates filled in; variables stay references."""
    if not isinstance(fields, BaseModel):
        raise ConfigurationError("A resource is set by its fields, each by its name.")
    given = {name: getattr(fields, name) for name in fields.model_fields_set}
    return {
        name: dg.EnvVar(value.env) if isinstance(value, Variable) else context.resolve_value(value)
        for name, value in given.items()
    }


def _fields_of(resource: type[BaseModel]) -> dg.Resolver:
    """How YAML gives the fields of a resource: each by its own type, a template, or a reference to a variable."""

    def field_of(known: FieldInfo) -> tuple[Any, Any]:
        kind: Any = known.annotation | str
        if known.annotation in (str, int):  # what Dagster takes from the environment
            kind |= Variable
        return kind, Field(default=None, description=known.description)

    fields: dict[str, Any] = {name: field_of(known) for name, known in resource.model_fields.items()}
    model = create_model(f"{resource.__name__}Fields", __base__=dg.Model, __doc__=resource.__doc__, **fields)
    return dg.Resolver(_given, model_field_type=model, description=resource.__doc__)


class VezaOps(dg.Component, dg.Model, dg.Resolvable):
    """Finds the ghost tracks that interrupted uploads leave in Veza's database, and marks them failed.

    What isn't given is as it is by default and in the environment (``VEZA_DATABASE_URL`` and so on). Run config
    overrides all of it, field by field.
    """

    model_config = _SAYS_NO_VALUE

    schedule: Schedule = Field(default_factory=Schedule, description="When the cleanup runs by the clock, in UTC.")
    on_load: bool = Field(default=True, description="Whether it runs whenever the code location is loaded.")
    age_threshold_minutes: int = _as_in(FindConfig, "age_threshold_minutes")
    batch_size: int = _as_in(FindConfig, "batch_size")
    dry_run: bool = _as_in(MarkConfig, "dry_run")
    executor: dict[str, Any] = Field(
        default_factory=lambda: dict(IN_ONE_PROCESS),
        description="Where steps run, as under execution.config in run config: {multiprocess: {max_concurrent: 4}}.",
    )
    database: Annotated[Mapping[str, Any], _fields_of(Database)] = Field(default_factory=dict)
    storage: Annotated[Mapping[str, Any], _fields_of(Storage)] = Field(default_factory=dict)
    evidence: Annotated[Mapping[str, Any], _fields_of(EvidenceStore)] = Field(default_factory=dict)
    history: Annotated[Mapping[str, Any], _fields_of(History)] = Field(default_factory=dict)
    alerts: Annotated[Mapping[str, Any], _fields_of(Alerts)] = Field(default_factory=dict)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - the hook's signature
        """Dagster's hook: the inventory as set here. Raises ConfigurationError."""
        return build_defs(
            Settings(
                cron=self.schedule.cron,
                scheduled=self.schedule.enabled,
                on_load=self.on_load,
                find={"age_threshold_minutes": self.age_threshold_minutes, "batch_size": self.batch_size},
                mark={"dry_run": self.dry_run},
                executor=self.executor,
                resources={
                    "database": self.database,
                    "storage": self.storage,
                    "evidence": self.evidence,
                    "history": self.history,
                    "alerts": self.alerts,
                },
            )
        )
