"""The settings of a method as its code states them: type, default, and the comments that say where they are from."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import re
import sys
import textwrap
import tokenize
from dataclasses import dataclass
from typing import Any, get_type_hints

from splatbench.method import Method


@dataclass(frozen=True)
class Setting:
    """One field of a method's Config.

    Attributes:
        type: in words.
        default: None where there is none.
        source: the comments on it; empty where there are none, or where the source is not at hand.
    """

    name: str
    type: str
    default: Any
    source: str


def settings_of(method: type[Method]) -> list[Setting]:
    """All settings in the order of the code."""
    hints = get_type_hints(method.Config)
    comments = _comments(method.Config)
    return [
        Setting(
            field.name,
            _words(hints[field.name]),
            None if field.default is dataclasses.MISSING else field.default,
            comments.get(field.name, ""),
        )
        for field in dataclasses.fields(method.Config)
    ]


def sources_of(method: type[Method]) -> str:
    """What the marks in the comments stand for ("[P] ...; [C] ..."), from the docstring of the settings' module."""
    text = inspect.getdoc(sys.modules[method.Config.__module__]) or ""
    found = re.search(r"^Sources:\s*(.+?)(?:\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return " ".join(found.group(1).split()) if found else ""


def _words(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _comments(config: type) -> dict[str, str]:
    """Field -> the comment lines directly above it and the comment behind it, those of base classes included."""
    found: dict[str, str] = {}
    for each in reversed(config.__mro__):
        if dataclasses.is_dataclass(each):
            try:
                source = textwrap.dedent(inspect.getsource(each))
            except (OSError, TypeError):  # made at run time, or installed without its source
                continue
            found |= _comments_in(source)
    return found


def _comments_in(source: str) -> dict[str, str]:
    alone: dict[int, str] = {}
    behind: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(("# noqa", "# type:", "# fmt:")):
            lines = behind if token.line[: token.start[1]].strip() else alone
            lines[token.start[0]] = token.string.lstrip("# ").strip()
    body = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)).body
    found = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            above: list[str] = []
            for line in range(node.lineno - 1, 0, -1):
                if line not in alone:
                    break
                above.insert(0, alone[line])
            last = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            found[node.target.id] = " ".join([*above, *(behind[line] for line in last if line in behind)])
    return found
