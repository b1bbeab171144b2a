"""Tests that pages of the documentation name as their evidence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`( \(nightly\))?")


def faults(text: str) -> Iterator[str]:
    """What is wrong with the tests that a page names: pytest collects no such function, it is always skipped, or it is
    long and the page does not say "(nightly)" behind it, or the reverse."""
    for path, name, nightly in NAMED.findall(text):
        file = ROOT / path
        found = _collected(file).get(name) if file.is_file() else None
        if found is None:
            yield f"{path}::{name} is no test"
        elif "skip" in found:
            yield f"{path}::{name} is always skipped"
        elif ("slow" in found) != bool(nightly):
            yield f"{path}::{name} {'is long: say (nightly)' if not nightly else 'is no long test'}"


def _collected(file: Path) -> dict[str, set[str]]:
    """The names of its marks by the name of a test, as `name` or `Class::name`."""
    module = ast.parse(file.read_text(encoding="utf-8"))
    of_all = {mark for node in module.body for mark in _pytestmark(node)}
    tests = {}
    for node in module.body:
        inside = node.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test") else []
        prefix, shared = (f"{node.name}::", _marks(node.decorator_list)) if inside else ("", set())
        for test in inside or [node]:
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                tests[prefix + test.name] = of_all | shared | _marks(test.decorator_list)
    return tests


def _pytestmark(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets):
        return _marks(node.value.elts if isinstance(node.value, ast.List) else [node.value])
    return set()


def _marks(expressions: list[ast.expr]) -> set[str]:
    """`slow` of `pytest.mark.slow`, also where it is called. A `skipif` depends on the machine, or is of True."""
    names = set()
    for expression in expressions:
        call = expression if isinstance(expression, ast.Call) else None
        mark = call.func if call else expression
        if isinstance(mark, ast.Attribute) and ast.unparse(mark.value) == "pytest.mark":
            always = call is not None and bool(call.args) and ast.unparse(call.args[0]) in ("True", "1")
            names.add("skip" if mark.attr == "skipif" and always else mark.attr)
    return names
