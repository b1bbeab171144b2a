"""The runner for inside a container: what authors' functions give, and what their mistakes become."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from contract_rows import LIMITS, RUNNER

from splatbench.budget import Budget
from splatbench.containers.contract import DecodeJob, EncodeJob, JobBudget, JobFolder
from splatbench.exchange import read_arrays, to_gaussians
from splatbench.method import get_method
from splatbench.runner.encoding import encode_image
from splatbench.runner.scoring import to_picture
from splatbench.trace import Trace

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "container-contract.md"
#: A method as source; {body} is what `encode` returns.
SOURCE = """
import numpy as np

FACTS = {{"blend": "sum", "coordinates": "pixels", "pixel_centers": "half", "axes": "xy", "colors": "unit",
         "scales": "standard_deviation", "angle_unit": "radians", "angle_direction": "x_to_y"}}

def gaussians(n, **changed):
    arrays = {{"means": np.ones((n, 2)), "scales": np.ones((n, 2)), "angles": np.zeros(n), "colors": np.ones((n, 3))}}
    return {{**arrays, "facts": FACTS, **changed}}

def encode(image, budget, seed, settings):
    {body}
"""


@pytest.fixture
def work(tmp_path):
    """Runs a source on a job; returns the process, and what is in the output folder by name."""

    def run(
        source: str, job: EncodeJob | DecodeJob | None = None, payload=b"", options=(), target="method.py", **changed
    ):
        folder = JobFolder(tmp_path / "in", tmp_path / "out")
        folder.input.mkdir()
        folder.output.mkdir()
        (tmp_path / "method.py").write_text(source)
        if isinstance(job, DecodeJob):
            folder.put_decoding(job, payload)
        else:
            image = np.arange(24 * 32 * 3, dtype=np.uint8).reshape(24, 32, 3)
            usual = {"height": 24, "width": 32, "budget": JobBudget(gaussians=5), "seed": 7, "threads": 1}
            folder.put_encoding(EncodeJob(**{**usual, **changed}), image)
        environment = {"SPLATBENCH_IN": str(folder.input), "SPLATBENCH_OUT": str(folder.output)}
        done = subprocess.run(
            [sys.executable, str(RUNNER), target, *options],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **environment},
            capture_output=True,
            text=True,
        )
        return done, {path.name: path.read_bytes() for path in folder.output.iterdir()}

    return run


def body(text: str) -> str:
    return SOURCE.format(body=text)


def test_a_dict_of_arrays_becomes_gaussians(work, tmp_path):
    done, files = work(body("return gaussians(5), {'notes': ['fine'], 'iterations': 3}"))
    assert done.returncode == 0, done.stderr
    assert set(files) == {"started", "finished", "gaussians.npz", "report.json"}
    gaussians = to_gaussians(read_arrays(tmp_path / "out" / "gaussians.npz"), (24, 32))
    assert len(gaussians) == 5 and gaussians.size == (24, 32) and gaussians.means.tolist() == [[1.0, 1.0]] * 5
    assert json.loads(files["report.json"]) == {"notes": ["fine"], "iterations": 3}


def test_the_function_gets_what_the_job_says(work):
    checks = "assert image.shape == (24, 32, 3) and image.dtype == np.uint8 and image[0, 1, 0] == 3\n"
    checks += "    assert (budget['gaussians'], budget['iterations'], seed, settings) == (5, 9, 7, {'a': {'b': [1]}})\n"
    settings, budget = {"a": {"b": [1]}}, JobBudget(gaussians=5, iterations=9)
    done, files = work(body(checks + "    return b'bytes'"), settings=settings, budget=budget)
    assert done.returncode == 0 and files["encoding.s2d"] == b"bytes", done.stderr


def test_bytes_are_a_payload_where_the_job_says_so(work):
    _, files = work(body("return bytearray(b'1234')"), decoder="container")
    assert files["payload.bin"] == b"1234" and "encoding.s2d" not in files


def test_preparation_and_warm_up_come_before_the_mark(work):
    source = body("print('encode', image.shape, budget['gaussians'], marked()); return b'x'")
    source += "import os\ndef marked(): return os.listdir(os.environ['SPLATBENCH_OUT'])\n"
    source += "def prepare(settings, device): print('prepare', settings, device, marked())\n"
    done, _ = work(source, options=["--warm-up"], settings={"k": 1})
    assert done.stdout.splitlines() == [
        "prepare {'k': 1} cpu []",
        "encode (48, 64, 3) 64 []",
        "encode (24, 32, 3) 5 ['started']",
    ]


def test_an_object_and_a_class_hold_the_functions(work):
    source = "class Thing:\n    def encode(self, image, budget, seed, settings): return b'thing'\n"
    _, files = work(source, target="method.py:Thing")
    assert files["encoding.s2d"] == b"thing"


def test_decoding_has_the_payload_alone(work):
    source = "import numpy as np\nready = []\ndef prepare_decoder(): ready.append(1)\n"
    source += "def decode(payload):\n    assert ready\n    return np.full((2, 3, 3), payload[0], np.uint8)\n"
    done, files = work(source, DecodeJob(threads=1), payload=b"\x09")
    assert done.returncode == 0 and set(files) == {"started", "finished", "picture.npy"}, done.stderr


@pytest.mark.parametrize(
    ("source", "status", "reason"),
    [
        (body("raise MemoryError('no room')"), "out_of_memory", "MemoryError: no room"),
        (body("raise RuntimeError('CUDA out of memory. Tried to')"), "out_of_memory", "CUDA out of memory"),
        (body("raise FloatingPointError('overflow')"), "diverged", "FloatingPointError: overflow"),
        (body("raise KeyError('answer')"), "failed", "KeyError: 'answer'"),
        (body("raise SystemExit(0)"), "failed", "SystemExit: 0"),
        (
            body("return gaussians(5, colors=np.full((5, 3), np.nan))"),
            "diverged",
            "colors holds 15 values that are NaN",
        ),
        (body("return gaussians(5, facts='sum')"), "failed", "no dict 'facts' that states the conventions"),
        (body("return gaussians(5, means=['a'])"), "failed", "means holds <U1; numbers are expected"),
        (body("return gaussians(5, facts={**FACTS, 'f': {1}})"), "failed", "facts must hold plain numbers"),
        (body("return {'facts': FACTS}"), "failed", "the answer holds no arrays"),
        (body("return None"), "failed", "encode returned NoneType; it must return a dict of arrays"),
        (body("return 1, 2, 3"), "failed", "encode returned a tuple of 3; it must be (answer, report)"),
        (body("return b'', {'notes': {1}}"), "failed", "report must hold plain numbers, texts and lists"),
        ("x = 1", "failed", "the method has no function encode"),
        ("import nothing_of_this_name", "failed", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def encode(: pass", "failed", "SyntaxError"),
    ],
)
def test_mistakes_become_sentences(work, source, status, reason):
    done, files = work(source)
    told = json.loads(files["error.json"])
    assert done.returncode == 1 and told["status"] == status and reason in told["reason"], told
    assert "Traceback" in done.stderr
    assert not {"gaussians.npz", "encoding.s2d"} & set(files)


def test_a_picture_of_the_wrong_kind_is_refused(work):
    _, files = work("import numpy as np\ndef decode(p): return np.zeros((2, 2))\n", DecodeJob(threads=1))
    reason = json.loads(files["error.json"])["reason"]
    assert reason == "decode returned float64 [2, 2]; it must return uint8 [H, W, 3]"


def test_another_contract_is_refused(work, tmp_path):
    work(body("return b'x'"))
    path = tmp_path / "in" / "job.json"
    path.chmod(0o644)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"contract": "2"}))
    folders = {"SPLATBENCH_IN": str(tmp_path / "in"), "SPLATBENCH_OUT": str(tmp_path / "out")}
    subprocess.run([sys.executable, str(RUNNER), "method.py"], cwd=tmp_path, env=folders, capture_output=True)
    told = json.loads((tmp_path / "out" / "error.json").read_text())
    assert told["reason"] == "this runner keeps contract 1, the job is of contract 2"


def test_it_needs_nothing_but_numpy_and_an_old_python():
    import ast

    tree = ast.parse(RUNNER.read_text(), feature_version=(3, 8))
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - {"numpy"} <= sys.stdlib_module_names


def test_the_example_of_the_documentation_is_a_method(tmp_path, crop):
    source = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL).group(1)
    assert len([line for line in source.splitlines() if line.strip()]) <= 22
    (tmp_path / "my_method.py").write_text(source)
    external = get_method("external")
    config = external.make_config(
        {
            "engine": "process",
            "command": ["python", str(RUNNER), str(tmp_path / "my_method.py")],
            "settings": {"spread": 0.8},
            "limits": LIMITS,
        }
    )
    method = external(config)
    encoded = encode_image(method, crop, Budget(gaussians=300), seed=2)
    decoded = method.decode(encoded.files[-1].data, Trace())
    assert len(decoded) == encoded.files[-1].n_actual == 300
    again = encode_image(method, crop, Budget(gaussians=300), seed=2)
    assert again.files[-1].data == encoded.files[-1].data
    # The weights of a pixel sum to 1 only in expectation: a sketch of a picture, but of this one and not of its mirror.
    difference = to_picture(decoded) - crop.astype(np.float32) / 255
    mirrored = to_picture(decoded) - crop[:, ::-1].astype(np.float32) / 255
    assert np.square(difference).mean() < 0.8 * np.square(mirrored).mean()
