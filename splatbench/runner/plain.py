"""What methods and metrics report, as plain values that a result can hold; or a sentence that names what cannot be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from splatbench.method import MethodError
from splatbench.schema import explain

ModelType = TypeVar("ModelType", bound=BaseModel)
#: JSON knows no bounds, those who read it do.
_LARGEST = 2**63


def plain(kind: type[ModelType], **fields: Any) -> ModelType:
    """A result, or a part of one, that can be written: numbers of NumPy become plain ones.

    Raises:
        MethodError: naming the field whose value has another type, is NaN, infinite, or has more than 64 bits.
    """
    try:
        made = kind.model_validate(fields)
    except ValidationError as error:
        raise MethodError(f"a result cannot hold what was reported: {explain(error, kind)[0]}") from None
    for where, value in _numbers(made.model_dump(), ""):
        fits = abs(value) < _LARGEST if isinstance(value, int) else math.isfinite(value)
        if not fits:
            raise MethodError(f"a result cannot hold what was reported: {where} is {_short(value)}")
    return made


def _numbers(value: Any, where: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _numbers(part, f"{where}.{key}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield from _numbers(part, f"{where}[{index}]")
    elif isinstance(value, (int, float)):
        yield where, value


def _short(value: float) -> str:
    return f"a number of {value.bit_length()} bits" if isinstance(value, int) else str(value)


def readable(text: str) -> str:
    """A message as text that can be written: of a file's name that is no UTF-8 it may hold half a character."""
    return text.encode("utf-8", "backslashreplace").decode()
