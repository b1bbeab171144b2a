"""YAML that a person wrote or somebody sent: plain values, each key once, of bounded size whatever the file says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

#: Characters of a file. An experiment that lists ten thousand images by name has a third of it.
MOST_CHARACTERS = 1 << 20

#: Values once aliases are followed. Ten aliases of ten aliases, and so on, are a few lines that no memory holds.
MOST_VALUES = 100_000


class Unbounded(yaml.YAMLError):
    """Content that is larger or deeper than such a file can need; the text says how."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: plain YAML keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if (twice := repeated(keys)) is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def repeated(values: Iterable[Any]) -> Any | None:
    """The first value that was there before, or None."""
    seen: set[Any] = set()
    others: list[Any] = []  # that cannot be hashed
    for value in values:
        try:
            if value in seen:
                return value
            seen.add(value)
        except TypeError:
            if value in others:
                return value
            others.append(value)
    return None


def read(path: Path | str) -> Any:
    """The content of a file; see `parse`.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read, or is not UTF-8.
        yaml.YAMLError: as `parse`.
    """
    with open(path, encoding="utf-8") as file:
        return parse(file.read(MOST_CHARACTERS + 1))


def parse(text: str) -> Any:
    """Plain values (text, numbers, dates, lists, mappings) of YAML; tags that would make objects are refused.

    Raises:
        yaml.YAMLError: not YAML, a key that is given twice, a value that cannot be.
        Unbounded: longer than MOST_CHARACTERS, more than MOST_VALUES, nested too deeply, or part of itself.
    """
    if len(text) > MOST_CHARACTERS:
        raise Unbounded(f"more than {MOST_CHARACTERS} characters: no such file needs them")
    try:
        content = _Loader(text).get_single_data()
    except RecursionError:
        raise Unbounded("nested too deeply") from None
    except ValueError as error:  # of a value that looks like a date or a number and is none
        raise yaml.YAMLError(str(error)) from None
    _require_bounded(content)
    return content


def _require_bounded(content: Any) -> None:
    """A walk as long as the content is, with every alias followed, given up at the bound."""
    waiting, count = [content], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            inside: list[Any] = [*value.keys(), *value.values()]
        else:
            inside = list(value) if isinstance(value, list | tuple | set) else []
        waiting += inside
        if count + len(waiting) > MOST_VALUES:
            raise Unbounded(f"more than {MOST_VALUES} values once its aliases are followed")
