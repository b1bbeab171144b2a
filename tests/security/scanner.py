"""What no Python of this project may do, found in its syntax tree: names are resolved through imports and aliases."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Modules that make objects of any class from bytes, or parse XML with entities. Importing one is a finding.
MODULES = {
    "pickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle",
    "xml", "lxml", "xmlrpc", "telnetlib", "ftplib",
}  # fmt: skip
#: Functions that run text, make names that can be guessed, or unpack whole archives.
CALLS = {
    "eval", "exec", "compile", "builtins.eval", "builtins.exec", "builtins.compile", "__import__",
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "commands.getoutput",
    "tempfile.mktemp", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load",
    "shutil.unpack_archive", "torch.jit.load", "ssl._create_unverified_context", "pandas.read_pickle",
}  # fmt: skip
#: Methods that are dangerous whatever they are called on.
METHODS = {"extract", "extractall"}
#: Calls that need one of these values of a keyword: name -> (keyword, value).
NEEDED = {
    "torch.load": ("weights_only", True),
    "torch.jit.load": ("never", True),
    "jinja2.Environment": ("autoescape", True),
}
#: Values of keywords that no call may have.
FORBIDDEN = {"shell": True, "verify": False, "allow_pickle": True, "weights_only": False}
#: Text that is markup as it stands.
MARKUP = "markupsafe.Markup"


@dataclass(frozen=True)
class Finding:
    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def scan(text: str, path: str = "<text>") -> list[Finding]:
    """Everything in a Python source that the lists above forbid, in the order of its lines."""
    tree = ast.parse(text, path)
    names = _imported(tree)
    found = [Finding(path, node.lineno, what) for node in ast.walk(tree) for what in _faults(node, names)]
    return sorted(found, key=lambda finding: (finding.line, finding.what))


def scan_files(paths: list[Path], root: Path) -> list[Finding]:
    return [
        finding for path in paths for finding in scan(path.read_text(encoding="utf-8"), str(path.relative_to(root)))
    ]


def _imported(tree: ast.Module) -> dict[str, str]:
    """Local names -> what they stand for, e.g. np -> numpy, load -> torch.load."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """What an expression like `np.load` names; empty for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (inner := _dotted(node.value, names)):
        return f"{inner}.{node.attr}"
    return ""


def _faults(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (f"imports {alias.name}" for alias in node.names if alias.name.split(".")[0] in MODULES)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        if (node.module or "").split(".")[0] in MODULES:
            yield f"imports {node.module}"
    elif isinstance(node, ast.Call):
        yield from _faults_of_call(node, names)
    elif isinstance(node, ast.Attribute | ast.Name):
        # Also where it is not called at once: `run = os.system`.
        name = _dotted(node, names)
        if name in CALLS or name == MARKUP:
            yield f"uses {name}"


def _faults_of_call(node: ast.Call, names: dict[str, str]) -> Iterator[str]:
    name = _dotted(node.func, names)
    given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    if name == "importlib.import_module" and node.args and isinstance(node.args[0], ast.Constant):
        module = str(node.args[0].value)
        if module.split(".")[0] in MODULES:
            yield f"imports {module}"
    if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        yield f"calls {node.func.attr}"
    if name in NEEDED:
        keyword, value = NEEDED[name]
        if not (isinstance(given.get(keyword), ast.Constant) and given[keyword].value is value):  # type: ignore[union-attr]
            yield f"calls {name} without {keyword}={value}"
    for keyword, value in FORBIDDEN.items():
        if keyword not in given or NEEDED.get(name, ("",))[0] == keyword:
            continue
        argument = given[keyword]
        # What is not a constant may be anything.
        if not isinstance(argument, ast.Constant) or argument.value is value:
            yield f"passes {keyword} that is or may be {value}"
