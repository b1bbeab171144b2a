"""The borders of docs/architecture.md, checked: who imports whom, and what must never appear."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "splatbench"

#: A part may import parts of a lower level, and itself. Parts of one level do not know each other.
LEVELS = [
    {"files", "layers", "plain_yaml"},
    {"gaussians", "budget", "trace", "record"},
    {"render", "losses", "optim", "optim_gpu"},
    {"graph"},
    {"fitting"},
    {"codec"},
    {"exchange"},
    {"containers"},
    {"method"},
    {"metrics", "datasets", "devices", "provenance", "rate", "schema", "checkpoints", "analysis", "energy"},
    {"experiment", "weight_files", "model_files"},
    {"runner", "report", "training"},
    {"results"},
    {"site"},
    {"cli"},
]
#: Imports against the direction, each with its reason.
EXCEPTIONS = {
    ("method", "training"),  # the border Task, as a type alone
    ("codec", "method"),  # decode() finds the method that a file names, at call time
    ("fitting", "codec"),  # the quantisers' numbers
    ("losses", "render"),  # the kernel decorator and the thread pool
    ("optim", "render"),
    ("optim_gpu", "render"),  # the launcher of Triton kernels
    ("optim_gpu", "optim"),
    ("metrics", "datasets"),  # weights are fetched by the same downloader
    ("experiment", "report"),  # the `report:` section's schema
}


def part(path: Path) -> str:
    relative = path.relative_to(LIBRARY)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported_parts(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:  # relative
                base = path.parent
                for _ in range(node.level - 1):
                    base = base.parent
                if base == LIBRARY:
                    names |= {module.split(".")[0]} if module else {alias.name for alias in node.names}
            elif module == "splatbench":
                names |= {alias.name for alias in node.names}
            elif module.startswith("splatbench."):
                names.add(module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("splatbench.")}
    return names


def sources() -> list[Path]:
    return sorted(LIBRARY.rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
    level = {name: i for i, names in enumerate(LEVELS) for name in names}
    mine = part(path)
    if mine in ("__init__", "__main__"):
        return
    assert mine in level, f"{mine} has no place in the architecture: give it one in LEVELS"
    for other in imported_parts(path) - {mine, "__version__"}:
        assert other in level, f"{path} imports splatbench.{other}, which is not known"
        assert level[other] < level[mine] or (mine, other) in EXCEPTIONS, f"{mine} must not import {other}"


def test_exceptions_are_used():
    """An exception that nothing needs any more has to go."""
    used = {(part(path), other) for path in sources() for other in imported_parts(path)}
    assert used >= EXCEPTIONS


@pytest.mark.parametrize(
    "folder", sorted(p.parent for p in (ROOT / "methods").glob("*/__init__.py")), ids=lambda p: p.name
)
def test_methods_do_not_know_each_other(folder):
    others = {p.parent.name for p in (ROOT / "methods").glob("*/__init__.py")} - {folder.name}
    for path in folder.rglob("*.py"):
        text = path.read_text()
        for other in others:
            assert not re.search(rf"(from|import)\s+(methods|splatbench_methods)\.{other}\b", text), path


def test_the_library_names_no_method():
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom | ast.Import):
                modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                assert not any(m.split(".")[0] in ("methods", "splatbench_methods") for m in modules), path


def test_data_sets_folder_is_no_package():
    """A top-level package `datasets` would hide the library of that name that other packages import."""
    assert not (ROOT / "datasets" / "__init__.py").exists()


def test_files_are_of_one_idea():
    for path in [*sources(), *(ROOT / "methods").rglob("*.py")]:
        assert len(path.read_text().splitlines()) <= 400, path


def test_help_is_quick_to_import():
    code = "import sys, splatbench.cli; print(*sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "torchvision", "lpips", "numba", "pandas", "matplotlib", "scipy", "skimage"}
    assert not heavy & set(out.stdout.split())
