"""Other defaults for the fields that an operator can set, where the environment or a code location gives them.

Defaults, and not run config or arguments: run config that names one field would drop whatever else was given.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any, TypeVar

import dagster as dg
from pydantic import BaseModel, ValidationError, create_model

from veza_ops.errors import ConfigurationError
from veza_ops.resources import SECRET

Model = TypeVar("Model", bound=BaseModel)


def with_defaults(model: type[Model], values: Mapping[str, Any]) -> type[Model]:
    """`model`, a resource or a config, with `values` as the defaults of the fields that they name.

    Raises ConfigurationError, without the value itself, for one that the field doesn't take. A field that holds a
    secret takes nothing but a reference to the environment.
    """
    if not values:
        return model
    if unknown := values.keys() - model.model_fields.keys():
        names = ", ".join(sorted(unknown))
        raise ConfigurationError(f"{model.__name__} has no {names}, only {', '.join(model.model_fields)}.")
    fields = {name: copy(model.model_fields[name]) for name in values}
    plain = {name: value for name, value in values.items() if not isinstance(value, dg.EnvVar)}
    if secrets := [name for name in plain if fields[name].json_schema_extra == SECRET]:
        raise ConfigurationError(
            f"{model.__name__}.{secrets[0]} holds a secret, so it is given as a reference to a variable of the "
            "environment: {env: NAME}. A template such as {{ env.NAME }} would put the value itself there."
        )
    try:
        checked = model(**plain)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ConfigurationError(f"{model.__name__} can't be set so. {wrong}.") from None
    for name, field in fields.items():
        if name in plain:
            field.default = getattr(checked, name)
        else:
            field.default = dg.EnvVar.int(values[name].env_var_name) if field.annotation is int else values[name]
    made = {name: (field.annotation, field) for name, field in fields.items()}
    return create_model(  # type: ignore[call-overload, no-any-return]  # it knows no fields whose names are not
        model.__name__, __base__=model, __doc__=model.__doc__, __module__=model.__module__, **made
    )


def op_with(op: dg.OpDefinition, config: type[dg.Config]) -> dg.OpDefinition:
    """`op`, its config with the defaults of `config`, which has the same fields as its own."""
    return op.configured(lambda given: given, name=op.name, config_schema=config.to_config_schema().as_field())


def checks_with(checks: dg.AssetChecksDefinition, config: type[dg.Config]) -> dg.AssetChecksDefinition:
    """`checks`, their config with the defaults of `config`, which has the same fields as their own."""
    assert isinstance(checks.node_def, dg.OpDefinition)
    made: dg.AssetChecksDefinition = dg.AssetChecksDefinition.create(
        keys_by_input_name=checks.keys_by_input_name,
        node_def=op_with(checks.node_def, config),
        check_specs_by_output_name=checks.check_specs_by_output_name,
        can_subset=checks.can_subset,
    )
    return made
