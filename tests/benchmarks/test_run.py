"""The command: every kernel is measured, and what is measured is right."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from benchmarks import roofline, run, scenes, training
from benchmarks.external import gsplat_cases, load_renderer
from benchmarks.report import read_timings
from benchmarks.run import Mode, cases_of, limited, main, modes
from benchmarks.timing import CPU, WALL, NotAvailable
from splatbench.losses import Objective
from splatbench.render.threads import thread_count

KERNELS = {
    "sum forward", "sum backward", "topk forward", "topk backward", "covariance from Cholesky, both ways",
    "covariance from scales, both ways", "loss L1", "loss L2", "loss L1 + SSIM (same)", "loss L1 + SSIM (valid)",
    "Adam step", "Adan step", "step L2, Adan", "step L1 + SSIM, Adam",
}  # fmt: skip

RENDERER = """
from splatbench.render.reference import rasterize_sum_reference

def exact():
    return lambda *inputs: rasterize_sum_reference(*inputs).float()

def broken():
    raise RuntimeError("not built")
"""


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(scenes.SCENES, "small", (40, 24, 36))
    monkeypatch.setattr(roofline, "_COPIED", (1 << 20,))


@pytest.fixture
def other(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "renderer_of_a_user.py"
    path.write_text(RENDERER)
    return path


@pytest.mark.slow
def test_the_whole_command(tiny, other, tmp_path, capsys):
    arguments = ["--scenes", "small", "--devices", "cpu", "--threads", "1", "--repeats", "3", "--output", str(tmp_path)]
    assert main([*arguments, "--other", f"{other}:exact", "--other", f"{other}:broken"]) == 0
    (records,), (table,) = tmp_path.glob("*.jsonl"), tmp_path.glob("*.md")
    timings = list(read_timings(records))
    assert {t.kernel for t in timings} == KERNELS | {roofline.FMA, roofline.COPY}
    assert table.read_text() in capsys.readouterr().out
    for t in timings:
        if t.implementation == "renderer_of_a_user.py" and t.status != "ok":
            assert (t.status, t.reason) == ("not_available", "RuntimeError: not built")
            continue
        assert t.status == "ok", (t.kernel, t.implementation, t.reason)
        assert t.median and 0 < t.tenth <= t.median <= t.ninetieth and t.repeats == 3
        assert t.ratio is None or t.ratio > 0
        assert t.provenance.cpu and t.provenance.versions["numba"] and t.provenance.threads == 1
        if t.implementation == "splatbench":
            assert t.ratio == 1 and t.fraction and 0 < t.fraction < 1
    pairs = {t.kernel: t.pairs for t in timings if t.implementation == "splatbench"}
    expected = scenes.coverage(scenes.make_scene("small", 40, 24, 36), 1 / 255).sum()
    assert pairs["sum forward"] == pairs["sum backward"] == expected and pairs["step L2, Adan"] == 2 * expected
    assert pairs["topk forward"] > pairs["sum forward"]
    user = [t for t in timings if t.implementation == "renderer_of_a_user.py" and t.status == "ok"]
    assert [t.kernel for t in user] == ["sum forward", "sum backward"]
    assert all(float(t.note.split()[-2]) < 1e-4 for t in user), user[0].note


def test_what_is_timed_computes_what_it_says(scene):
    """Pictures and gradients of the timed functions against each other."""
    found = {}
    for case in cases_of(scene, [], exact=True):
        value = case.build()()
        found[case.kernel, case.implementation] = value
    for kernel, tolerance in (("sum forward", 1e-5), ("topk forward", 1e-4)):
        torch.testing.assert_close(
            found[kernel, "splatbench"].double(), found[kernel, "float64 reference"], rtol=0, atol=tolerance
        )
    for kernel, others in (("sum backward", "float64 reference"), ("covariance from scales, both ways", "torch"),
                           ("covariance from Cholesky, both ways", "torch"), ("loss L2", "torch"),
                           ("loss L1", "torch"), ("loss L1 + SSIM (valid)", "pytorch-msssim")):  # fmt: skip
        for ours, theirs in zip(found[kernel, "splatbench"], found[kernel, others], strict=True):
            scale = theirs.abs().max().item()
            torch.testing.assert_close(ours.double(), theirs.double(), rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("path", [training.strip_step, training.whole_step])
def test_a_step_makes_progress(scene, path):
    """The timed step is a real one: with a learning rate it would fit."""
    made = []

    def optimiser(parameters, lr):
        made.append(torch.optim.Adam(parameters, lr=0.02))
        return made[0]

    step = path(scene, Objective(l1=0.7, ssim=0.3), optimiser)
    colors = made[0].param_groups[0]["params"][2]
    start = scene.colors.clone()
    step()
    assert torch.allclose((colors.detach() - start).abs(), torch.tensor(0.02), rtol=0.01)


def test_no_step_leaves_the_scene_as_it_was(scene):
    before = [x.clone() for x in (scene.means, scene.factors, scene.colors)]
    for case in [*training.step_cases(scene, 1), *training.optimiser_cases(scene)]:
        function = case.build()
        function()
        function()
    for value, same in zip((scene.means, scene.factors, scene.colors), before, strict=True):
        assert torch.equal(value, same)


def test_modes(monkeypatch):
    monkeypatch.setattr(run, "thread_count", lambda: 4)
    assert modes(["cpu"], None) == [Mode("cpu", 1, CPU), Mode("cpu", 4, WALL)]
    assert modes(["cpu"], 1) == [Mode("cpu", 1, CPU)]
    assert [(m.device, m.threads) for m in modes(["cpu", "cuda"], 2)] == [("cpu", 1), ("cpu", 2), ("cuda", 2)]


def test_threads_are_limited_and_given_back(monkeypatch):
    monkeypatch.delenv("SPLATBENCH_THREADS", raising=False)
    before = thread_count(), torch.get_num_threads()
    with limited(1):
        assert (thread_count(), torch.get_num_threads()) == (1, 1)
    assert (thread_count(), torch.get_num_threads()) == before


def test_kernels_can_be_chosen(tiny, tmp_path):
    arguments = ["--scenes", "small", "--devices", "cpu", "--threads", "1", "--repeats", "3", "--output", str(tmp_path)]
    assert main([*arguments, "--kernels", "^Ad"]) == 0
    (records,) = tmp_path.glob("*.jsonl")
    assert {t.kernel for t in read_timings(records)} == {"Adam step", "Adan step", roofline.FMA, roofline.COPY}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["--scenes", "large"], "unknown large; known: small"), (["--devices", "tpu"], "unknown tpu"),
     (["--repeats", "2"], "at least 3")],
)  # fmt: skip
def test_wrong_usage(arguments, reason, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert reason in capsys.readouterr().err


def test_renderers_of_users_that_cannot_be_had(other):
    with pytest.raises(ValueError, match=r"expected package\.module:factory"):
        load_renderer("nothing")
    with pytest.raises(NotAvailable, match="ModuleNotFoundError: No module named 'no_such_renderer'"):
        load_renderer("no_such_renderer:make")
    with pytest.raises(NotAvailable, match="AttributeError"):
        load_renderer(f"{other}:other_name")


def test_gsplat_says_what_it_needs(scene):
    for case in gsplat_cases(scene, 1):
        with pytest.raises(NotAvailable, match="CUDA devices alone"):
            case.build()


@pytest.mark.slow
def test_yardstick_gets_the_renderer_that_works(tmp_path):
    """A stand-in for an external benchmark: loads the adapter as it is told to, draws and differentiates once."""
    (tmp_path / "bench.py").write_text(
        "import importlib.util, json, sys\n"
        "import numpy as np\n"
        "spec, name = sys.argv[sys.argv.index('--other') + 1].rsplit(':', 1)\n"
        "found = importlib.util.spec_from_file_location('adapter', spec)\n"
        "module = importlib.util.module_from_spec(found)\n"
        "found.loader.exec_module(module)\n"
        "renderer = getattr(module, name)()\n"
        "means = np.array([[2, 1]], np.float32)\n"
        "image = renderer.forward(means, np.array([[1, 0, 1]], np.float32), np.ones((1, 3), np.float32), 3, 5)\n"
        "grads = renderer.backward(np.ones((3, 5, 3), np.float32))\n"
        "json.dump([sys.argv[1:], image[..., 0].tolist(), grads[2].tolist()], open('out.json', 'w'))\n"
        "sys.exit(7)\n"
    )
    assert run.run_yardstick(tmp_path, Mode("cpu", 1, CPU), 5) == 7
    import json

    arguments, image, grad = json.loads((tmp_path / "out.json").read_text())
    assert arguments[2:] == ["--clock", "cpu", "--repeats", "5", "--threads", "1"]
    y, x = np.mgrid[0:3, 0:5]
    distance = ((x - 2) ** 2 + (y - 1) ** 2) / 2.0
    want = np.where(np.exp(-distance) >= 1 / 255, np.exp(-distance), 0)
    np.testing.assert_allclose(image, want, atol=1e-5)
    np.testing.assert_allclose(grad, [[want.sum()] * 3], rtol=1e-5)
