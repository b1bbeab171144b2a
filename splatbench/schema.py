"""Files that a person writes: YAML read strictly, checked against a schema, and every fault said in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from splatbench import plain_yaml
from splatbench.method import nearest


class Strict(BaseModel):
    """A part of such a file: unknown keys are errors, and it does not change once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_mapping(path: Path | str, kind: str, holds: str) -> dict[str, Any]:
    """A file's content, not yet validated.

    Args:
        kind: what the file is, for messages ("experiment file").
        holds: its first keys, for messages.

    Raises:
        ValueError: not readable, not YAML, or not a mapping.
    """
    try:
        content = plain_yaml.read(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the {kind} {path}: {error}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping with {holds}, got {type(content).__name__}")
    return content


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One sentence per problem: where, what, and the nearest valid key."""
    problems = []
    for detail in error.errors():
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).lstrip(".")
        if detail["type"] == "extra_forbidden":
            key = str(detail["loc"][-1])
            fields = _model_at(model, detail["loc"][:-1]).model_fields
            problems.append(f"{where}: unknown key {key!r}{nearest(key, fields)}")
        elif detail["type"] == "missing":
            problems.append(f"{where}: this key is missing")
        else:
            message = detail["msg"].removeprefix("Value error, ")
            problems.append(f"{where}: {message}" if where else message)
    return problems


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel]:
    """The model that validates what lies at a location; of a union the one whose tag is part of the location."""
    choices = [model]
    for part in loc:
        if tagged := [choice for choice in choices if len(choices) > 1 and part in _tags(choice)]:
            choices = tagged
        elif isinstance(part, str) and part in choices[0].model_fields:
            choices = list(_models(choices[0].model_fields[part].annotation)) or choices
    return choices[0]


def _tags(model: type[BaseModel]) -> set[Any]:
    return {value for field in model.model_fields.values() for value in get_args(field.annotation)}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
