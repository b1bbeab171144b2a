"""The fields of a record by what they hold, read off the schema: a new field needs no second list."""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel

Kind = Literal["whole", "real", "flag", "text", "nested"]

_SCALARS: dict[type, Kind] = {bool: "flag", int: "whole", float: "real", str: "text"}


@functools.cache
def field_kinds(model: type[BaseModel]) -> Mapping[str, Kind]:
    """Field -> kind, in the order of the schema; "nested" are lists, mappings and other models."""
    return MappingProxyType({name: _kind(field.annotation) for name, field in model.model_fields.items()})


def _kind(annotation: Any) -> Kind:
    if typing.get_origin(annotation) is Literal:
        return "text"
    members = [member for member in typing.get_args(annotation) or (annotation,) if member is not type(None)]
    if typing.get_origin(annotation) in (list, dict, tuple) or len(members) != 1:
        return "nested"
    return _SCALARS.get(members[0], "nested")
