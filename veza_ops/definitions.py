"""The inventory: everything that Dagster is to know. The environment is read here, and nowhere else."""

import logging
import os
from collections.abc import Mapping
from copy import copy
from typing import Any, TypeVar

import dagster as dg
from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import FieldInfo

from veza_ops.alerts.sensor import alert_on_trouble
from veza_ops.audit import asset as track_files
from veza_ops.audit.checks import files_health
from veza_ops.audit.job import audit_schedule, audit_track_files
from veza_ops.cleanup import asset as tracks
from veza_ops.cleanup.checks import library_health
from veza_ops.cleanup.config import SETTLE_SECONDS, FindConfig, MarkConfig
from veza_ops.cleanup.job import EVERY_HOUR, cleanup_graph, cleanup_schedule
from veza_ops.cleanup.loads import load_sensor
from veza_ops.cleanup.ops import find_stale_tracks, mark_orphans_failed
from veza_ops.errors import ConfigurationError
from veza_ops.executors import chosen_in_run_config
from veza_ops.history.job import prune_history, prune_schedule
from veza_ops.resources import Alerts, Database, EvidenceStore, History, Resource, Storage
from veza_ops.runs import WRITES_TRACKS, stands_for
from veza_ops.steps import StepConfig
from veza_ops.text import keep_secret
from veza_ops.undo.job import restore_orphan_tracks

Model = TypeVar("Model", bound=BaseModel)

_log = logging.getLogger(__name__)


def with_defaults(model: type[Model], defaults: Mapping[str, Any]) -> type[Model]:
    """`model`, a resource or a step's config, with other `defaults` for some of its fields.

    Defaults, since run config that names one field of a resource would drop whatever else the resource was given. What
    a variable of the environment holds for a number is read now; text stays a reference, and a secret.
    """
    fields: dict[str, Any] = {}
    wrong: list[str] = []
    for name, default in defaults.items():
        field = copy(model.model_fields[name])
        if isinstance(default, dg.EnvVar) and field.annotation is not str:
            try:
                field.default = _number(default.env_var_name, field)
            except ConfigurationError as error:
                wrong.append(f"{error} {model.__name__}.{name} takes nothing else.")
        else:
            field.default = default
            keep_secret(default.get_value() or "" if isinstance(default, dg.EnvVar) else "")
        fields[name] = (field.annotation, field)
    made: type[Model] = create_model(
        model.__name__, __base__=model, __doc__=model.__doc__, __module__=model.__module__, **fields
    )
    if issubclass(made, Resource | StepConfig):
        made.wrong = (*made.wrong, *wrong)
        for fault in wrong:
            _log.error(fault)
    return made


def _number(variable: str, field: FieldInfo) -> object:
    """The number that a `variable` holds for a field. Raises ConfigurationError, without what it holds."""
    kind: Any = field.annotation
    number: Any = create_model("Number", value=(kind, field))
    try:
        return number(value=os.environ.get(variable, "")).value
    except ValidationError:
        if kind is bool:
            raise ConfigurationError(f"{variable} holds neither true nor false.") from None
        what = "whole number" if kind is int else "number"
        raise ConfigurationError(f"{variable} holds no {what} {_bounds(field)}, such as {field.default}.") from None


def _bounds(field: FieldInfo) -> str:
    words = {Ge: "from {.ge} on", Gt: "above {.gt}", Le: "up to {.le}"}
    return ", ".join(words[type(bound)].format(bound) for bound in field.metadata)


def reference(variable: str) -> str:
    """A reference to a `variable` of the environment, whose value shows on no page; empty while it isn't set."""
    return dg.EnvVar(variable) if os.environ.get(variable) else ""


def with_environment(model: type[Model], **variables: str) -> type[Model]:
    """`model`, its defaults replaced by references to those `variables` that are set."""
    references = {field: reference(variable) for field, variable in variables.items()}
    return with_defaults(model, {field: default for field, default in references.items() if default})


_OF_STORES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
"""What the libraries for object stores read by themselves, and is shown nowhere.

A key's id is told nowhere either. But it is no secret, and where it is an ordinary word, the word is to be readable.
"""


def resource_types() -> dict[str, type[Resource]]:
    """The resources by their names, as the environment sets them."""
    for variable in _OF_STORES:
        keep_secret(os.environ.get(variable, ""))
    return {
        "database": with_environment(Database, url="VEZA_DATABASE_URL"),
        "storage": with_environment(Storage, root="VEZA_STORAGE_ROOT"),
        "evidence": EvidenceStore,
        "history": with_environment(History, keep_days="VEZA_KEEP_RUNS_DAYS"),
        "alerts": with_environment(
            Alerts,
            urls="VEZA_ALERT_URLS",
            max_missing="VEZA_ALERT_MAX_MISSING",
            digest="VEZA_ALERT_DIGEST",
            web_url="VEZA_DAGSTER_URL",
            heartbeat_url="VEZA_HEARTBEAT_URL",
        ),
    }


def find_config() -> type[FindConfig]:
    """The config of the first step, as the environment sets it."""
    return with_environment(FindConfig, stuck_hours="VEZA_STUCK_HOURS")


def mark_config() -> type[MarkConfig]:
    """The config of the step that writes, as the environment sets it."""
    return with_environment(MarkConfig, max_orphans="VEZA_MAX_ORPHANS")


def with_config(op: dg.OpDefinition, config: type[StepConfig]) -> dg.OpDefinition:
    """`op`, its config with the defaults of `config`, which has the same fields as its own."""
    return op.configured(lambda given: given, name=op.name, config_schema=config.to_config_schema().as_field())


def with_table(tags: Mapping[str, str], database: Resource) -> Mapping[str, str]:
    """A job's `tags`, saying which table it writes to, if it does."""
    names = (getattr(database, name, "") for name in ("url", "db_schema", "tracks_table"))
    url, *table = (name.get_value() or "" if isinstance(name, dg.EnvVar) else name for name in names)
    return {**tags, WRITES_TRACKS: stands_for(url, *table)} if WRITES_TRACKS in tags else tags


def build_defs(
    *,
    find: type[FindConfig] | None = None,
    mark: type[MarkConfig] | None = None,
    executor: dg.ExecutorDefinition | None = None,
    cron: str = EVERY_HOUR,
    scheduled: bool = True,
    on_load: bool = True,
    settle_seconds: int = SETTLE_SECONDS,
    resources: Mapping[str, Resource] | None = None,
) -> dg.Definitions:
    """The inventory, made anew, in which another code location may have some parts otherwise."""
    steps_run_by = executor or chosen_in_run_config()
    given = {name: kind() for name, kind in resource_types().items()} if resources is None else resources
    find, mark = find or find_config(), mark or mark_config()
    clean = cleanup_graph(with_config(find_stale_tracks, find), with_config(mark_orphans_failed, mark), mark.wrong)
    graphs = clean, restore_orphan_tracks, audit_track_files, prune_history
    cleanup, undo, audit, prune = (
        graph.to_job(executor_def=steps_run_by, tags=with_table(graph.tags, given["database"])) for graph in graphs
    )
    checks = dg.AssetChecksDefinition.create(
        keys_by_input_name=library_health.keys_by_input_name,
        node_def=with_config(library_health.op, find),
        check_specs_by_output_name=library_health.check_specs_by_output_name,
        can_subset=library_health.can_subset,
    )
    return dg.Definitions(
        assets=[tracks.ASSET, track_files.ASSET],
        asset_checks=[checks, files_health],
        jobs=[cleanup, undo, audit, prune],
        schedules=[
            cleanup_schedule(cleanup, cron=cron, on=scheduled, settle_seconds=settle_seconds),
            audit_schedule(audit),
            prune_schedule(prune),
        ],
        sensors=[load_sensor(cleanup, on=on_load, settle_seconds=settle_seconds), alert_on_trouble],
        resources=given,
    )


defs = build_defs()
