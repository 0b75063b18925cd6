"""veza-ops for other people's code locations: the inventory as a component, set in a few lines of YAML."""

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

import dagster as dg
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from veza_ops.cleanup.config import SETTLE_SECONDS, FindConfig, MarkConfig
from veza_ops.cleanup.job import EVERY_HOUR
from veza_ops.definitions import Model, build_defs, find_config, mark_config, reference, resource_types, with_defaults
from veza_ops.errors import ConfigurationError
from veza_ops.executors import IN_ONE_PROCESS, chosen_in_run_config, installed
from veza_ops.resources import SECRET, Alerts, Database, EvidenceStore, History, Storage
from veza_ops.storage.layout import Layout
from veza_ops.text import has_login

_SAYS_NO_VALUE = ConfigDict(hide_input_in_errors=True)
"""A value may have come from the environment, by a template in the wrong place."""


class Fields(dg.Model):
    """What YAML gives for one resource."""

    model_config = _SAYS_NO_VALUE


class Variable(Fields):
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


def _or_environment(model: type[BaseModel], name: str, otherwise: str) -> Any:
    """A field with the description that it has in `model`, which the environment sets where it isn't given."""
    return Field(default=None, description=f"{model.model_fields[name].description} Not given: {otherwise}")


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
    model = create_model(f"{resource.__name__}Fields", __base__=Fields, __doc__=resource.__doc__, **fields)
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
    quiet_minutes: int = _as_in(FindConfig, "quiet_minutes")
    stuck_hours: float | None = _or_environment(FindConfig, "stuck_hours", "VEZA_STUCK_HOURS, or 24.")
    settle_seconds: int = Field(
        default=SETTLE_SECONDS,
        description="Seconds between the two looks at a file, in the runs of the schedule and the sensor.",
    )
    dry_run: bool = _as_in(MarkConfig, "dry_run")
    max_orphans: int | None = _or_environment(MarkConfig, "max_orphans", "VEZA_MAX_ORPHANS, or no limit.")
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
        _require_cron(self.schedule.cron)
        _set(MarkConfig, {"settle_seconds": self.settle_seconds})  # within its bounds, or it is refused here
        found = {name: getattr(self, name) for name in ("age_threshold_minutes", "batch_size", "quiet_minutes")}
        return build_defs(
            find=_set_or(find_config, FindConfig, found, stuck_hours=self.stuck_hours),
            mark=_set_or(mark_config, MarkConfig, {"dry_run": self.dry_run}, max_orphans=self.max_orphans),
            executor=_executor(self.executor),
            cron=self.schedule.cron,
            scheduled=self.schedule.enabled,
            on_load=self.on_load,
            settle_seconds=self.settle_seconds,
            resources={name: _set(kind, getattr(self, name))() for name, kind in resource_types().items()},
        )


def _set_or(
    environment: Callable[[], type[Model]], model: type[Model], values: Mapping[str, Any], **fields: Any
) -> type[Model]:
    """`model` with `values` and those `fields` that are given; without these, it is as the `environment` sets it."""
    given = {name: value for name, value in fields.items() if value is not None}
    return _set(model if given else environment(), {**values, **given})


def _set(model: type[Model], values: Mapping[str, Any]) -> type[Model]:
    """`model` with `values`, or references to variables, as defaults.

    Raises ConfigurationError, without the value, for one that the field doesn't take. A field that holds a secret
    takes nothing but a reference, and is empty while there is no such variable: without an address, nothing is done.
    """
    if unknown := values.keys() - model.model_fields.keys():
        raise ConfigurationError(f"{model.__name__} has no {min(unknown)}, only {', '.join(model.model_fields)}.")
    plain = {name: value for name, value in values.items() if not isinstance(value, dg.EnvVar)}
    secret = {name for name, field in model.model_fields.items() if field.json_schema_extra == SECRET}
    _require_no_secret(model.__name__, plain, secret)
    try:
        checked = model(**plain)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ConfigurationError(f"{model.__name__} can't be set so. {wrong}.") from None
    given = {name: getattr(checked, name) if name in plain else value for name, value in values.items()}
    if issubclass(model, Storage):
        _require_absolute(**{name: given[name] for name in ("root", "path_map") if name in plain})
    return with_defaults(model, given | {name: reference(given[name].env_var_name) for name in secret & given.keys()})


def _require_no_secret(where: str, plain: Mapping[str, Any], secret: Collection[str]) -> None:
    """Raises ConfigurationError for a `plain` value of a field that holds a secret, or one that looks like a secret."""
    for name, value in plain.items():
        if name in secret:
            raise ConfigurationError(
                f"{where}.{name} holds a secret, so it is given as a reference to a variable of the environment: "
                "{env: NAME}. A template such as {{ env.NAME }} would put the value itself there."
            )
        if has_login(str(value)):
            raise ConfigurationError(
                f"{where}.{name} holds an address with a password, which would show on the pages. The field that it "
                "belongs into takes {env: NAME}."
            )


def _require_absolute(root: str = "", path_map: Mapping[str, str] | None = None) -> None:
    try:
        Layout(root, path_map or {})
    except ConfigurationError:  # it repeats the path
        raise ConfigurationError(
            "storage.root and both sides of storage.path_map are absolute paths, or lead to s3://BUCKET/PREFIX."
        ) from None


def _executor(default: Mapping[str, Any]) -> dg.ExecutorDefinition:
    """The executor of all jobs, with another default. Raises ConfigurationError, without the settings."""
    try:
        return chosen_in_run_config(default)
    except dg.DagsterInvalidConfigError:
        raise ConfigurationError(
            f"The executor is to be one of {', '.join(installed())}, with settings that it takes: those that the "
            "Launchpad shows under execution.config. Celery and Kubernetes need dagster-celery and dagster-k8s here."
        ) from None


def _require_cron(text: str) -> None:
    """Raises ConfigurationError, without the text, for one that is no cron expression."""
    try:
        dg.ScheduleDefinition(job_name="any", cron_schedule=text)
    except dg.DagsterInvalidDefinitionError:
        raise ConfigurationError('The schedule\'s cron is no cron expression, like "*/30 * * * *".') from None
