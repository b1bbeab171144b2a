"""No code of this project unpickles, runs text, guesses names or trusts markup; the scanner would see it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.security.scanner import scan, scan_files

ROOT = Path(__file__).resolve().parents[2]

#: What is there for a reason: (file, finding) -> the reason.
ALLOWED = {
    (
        "splatbench/checkpoints.py",
        "imports pickle",
    ): "for the class of the error of torch.load(weights_only=True) alone",
    ("splatbench/report/page.py", "uses markupsafe.Markup"): "SVG that Matplotlib made; it escapes all text",
    ("splatbench/site/view.py", "uses markupsafe.Markup"): "our own style sheets and scripts, and JSON without < and >",
}


def sources() -> list[Path]:
    folders = ("splatbench", "methods", "benchmarks", "containers")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def workflow_sources() -> list[Path]:
    return [
        ROOT / "Snakefile",
        *sorted(path for folder in ("datasets", "methods", "reports") for path in (ROOT / folder).rglob("*.smk")),
    ]


def test_no_forbidden_construct():
    found = scan_files(sources(), ROOT)
    assert [str(each) for each in found if (each.path, each.what) not in ALLOWED] == []


def test_every_exception_is_used():
    found = {(each.path, each.what) for each in scan_files(sources(), ROOT)}
    assert set(ALLOWED) <= found, "an exception that nothing needs any more has to go"


def test_pickle_is_imported_for_its_error_alone():
    text = (ROOT / "splatbench" / "checkpoints.py").read_text()
    assert set(re.findall(r"\bpickle\.\w+", text)) == {"pickle.UnpicklingError"}


BAD = {
    "import pickle": "imports pickle",
    "from pickle import loads": "imports pickle",
    "import cloudpickle as c": "imports cloudpickle",
    "import xml.etree.ElementTree as E": "imports xml.etree.ElementTree",
    "def f():\n    import marshal": "imports marshal",
    "import importlib\nimportlib.import_module('dill')": "imports dill",
    "import torch\ntorch.load(p)": "calls torch.load without weights_only=True",
    "from torch import load as read\nread(p)": "calls torch.load without weights_only=True",
    "import torch\ntorch.load(p, weights_only=False)": "calls torch.load without weights_only=True",
    "import torch\ntorch.load(p, weights_only=maybe)": "calls torch.load without weights_only=True",
    "import numpy as np\nnp.load(p, allow_pickle=True)": "passes allow_pickle that is or may be True",
    "import numpy as np\nnp.load(p, allow_pickle=flag)": "passes allow_pickle that is or may be True",
    "import yaml\nyaml.load(t, yaml.Loader)": "uses yaml.load",
    "from yaml import unsafe_load": None,  # found where it is used
    "from yaml import unsafe_load\nunsafe_load(t)": "uses yaml.unsafe_load",
    "eval('1')": "uses eval",
    "run = exec": "uses exec",
    "import builtins\nbuiltins.eval(t)": "uses builtins.eval",
    "import os\nos.system('ls')": "uses os.system",
    "import os as o\nsh = o.popen": "uses os.popen",
    "import subprocess\nsubprocess.run(c, shell=True)": "passes shell that is or may be True",
    "import subprocess\nsubprocess.run(c, shell=s)": "passes shell that is or may be True",
    "import tempfile\ntempfile.mktemp()": "uses tempfile.mktemp",
    "import httpx\nhttpx.get(u, verify=False)": "passes verify that is or may be False",
    "archive.extractall(p)": "calls extractall",
    "import shutil\nshutil.unpack_archive(p)": "uses shutil.unpack_archive",
    "import jinja2\njinja2.Environment()": "calls jinja2.Environment without autoescape=True",
    "from jinja2 import Environment\nEnvironment(autoescape=False)": "calls jinja2.Environment without autoescape=True",
    "from markupsafe import Markup\nMarkup(t)": "uses markupsafe.Markup",
}  # fmt: skip
GOOD = [
    "import re, torch\nre.compile('x')\nmodel.compile()\nmodel.eval()",
    "import torch\ntorch.load(p, weights_only=True)",
    "import numpy as np\nnp.load(p)\nnp.save(p, a, allow_pickle=False)",
    "import yaml\nyaml.safe_load(t)",
    "import subprocess\nsubprocess.run(['ls'])",
    "from jinja2 import Environment\nEnvironment(autoescape=True)",
    "from splatbench.plain_yaml import read\nread(p)",
]


@pytest.mark.parametrize("text", BAD)
def test_the_scanner_finds(text):
    expected = BAD[text]
    assert [each.what for each in scan(text)] == ([] if expected is None else [expected])


@pytest.mark.parametrize("text", GOOD)
def test_the_scanner_lets_pass(text):
    assert scan(text) == []


@pytest.mark.parametrize("path", workflow_sources(), ids=lambda path: path.name + "-" + path.parent.name)
def test_rules_run_our_command_line_alone(path):
    """Snakemake's files are no plain Python. A rule runs `splatbench`, quoted by Workflow.shell, and nothing else."""
    text = path.read_text()
    for forbidden in (
        r"\bpickle\b",
        r"\beval\(",
        r"\bexec\(",
        r"os\.system",
        r"shell=True",
        r"yaml\.load",
        r"\bscript:",
        r"\bwrapper:",
        r"\bnotebook:",
    ):
        assert not re.search(forbidden, text), f"{path}: {forbidden}"
    for command in re.findall(r"(?m)^ +shell:\n(.*?)(?=^ {0,4}\S|\Z)", text, re.S):
        assert re.search(r"\.shell\(", command), f"{path}: a rule's command goes through Workflow.shell:\n{command}"


#: Templates that print something as markup: (file, expression) -> why it is safe.
SAFE_FILTERS: dict[tuple[str, str], str] = {}


def test_templates_escape_everything():
    found = set()
    for path in sorted((ROOT / "reports").rglob("*.j2")):
        text = path.read_text()
        found |= {(path.name, each.strip()) for each in re.findall(r"\{\{([^}]*\|\s*safe\b[^}]*)\}\}", text)}
        assert "{% autoescape" not in text, path
        # An attribute without quotes ends at a space, whatever is escaped.
        assert not re.search(r"<[^>]*\s[\w-]+=\{\{", text), f"{path}: an attribute without quotes"
    assert found == set(SAFE_FILTERS)


def test_pages_of_one_file_end_no_element_early():
    """The second use of Markup, where text that was not written here comes in: as JSON in which nothing opens a tag."""
    from splatbench.site.page import script
    from splatbench.site.view import _inline

    made = script("x", {"</script>": "<!--<script>", "a": "]]>"}).decode()
    assert "<" not in made
    for text in ("a </script> b", "</SCRIPT", "<!-- x"):
        with pytest.raises(ValueError, match="cannot be part of one file"):
            _inline(text, "script")
