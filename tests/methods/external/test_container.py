"""Programs in containers as a method: settings, what a job tells, whose clock counts, and what engines refuse."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from splatbench.budget import Budget
from splatbench.containers.contract import EncodeJob, JobBudget, JobFolder
from splatbench.containers.task import ContainerTask, Ended, EngineMissing, GpuMissing, ImageMissing
from splatbench.exchange import write_npz
from splatbench.gaussians import Gaussians2D
from splatbench.method import MethodError, Unavailable, get_method
from splatbench.runner.encode import classify
from splatbench.runner.encoding import encode_image
from splatbench.runner.plan import configured
from splatbench.runner.serve import serve
from splatbench.trace import Trace

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


class Engine:
    """An engine in this process: `work` is called with the two folders of a task, as its program would see them."""

    name = "docker"

    def __init__(self) -> None:
        self.images = {"team/method:1": ONE}
        self.missing: Exception | None = None
        self.tasks: list[ContainerTask] = []
        self.seen: list[dict[str, bytes]] = []
        self.work: Callable[[Path, Path, ContainerTask], None] = lambda source, target, task: None
        self.ended = Ended("exited", 0, "", seconds=5.0, peak_memory_mib=123.0)

    def check(self) -> str:
        if self.missing:
            raise self.missing
        return "test"

    def digest(self, image: str) -> str:
        self.check()
        if image not in self.images:
            raise ImageMissing(f"`docker pull {image}` gets it")
        return self.images[image]

    def run(self, task: ContainerTask) -> Ended:
        self.tasks.append(task)
        source, target = (mount.source for mount in task.mounts)
        self.seen.append({path.name: path.read_bytes() for path in source.iterdir()})
        self.work(source, target, task)
        return self.ended

    @property
    def job(self) -> dict:
        return json.loads(self.seen[-1]["job.json"])


@pytest.fixture
def external():
    return get_method("external")


@pytest.fixture
def engine(external, monkeypatch) -> Engine:
    found = Engine()
    package = sys.modules[external.__module__]
    config = sys.modules[external.Config.__module__]
    monkeypatch.setattr(package.container, "get_engine", lambda name: found)
    monkeypatch.setattr(config, "get_engine", lambda name: found)
    config.known_digest.cache_clear()
    yield found
    config.known_digest.cache_clear()


@pytest.fixture
def gaussians(crop) -> Gaussians2D:
    import torch

    n = 7
    means = torch.rand(n, 2, generator=torch.Generator().manual_seed(1)) * 90
    shape = {"scales": torch.full((n, 2), 2.0), "angles": torch.zeros(n)}
    return Gaussians2D(means=means, colors=torch.full((n, 3), 0.5), size=crop.shape[:2], **shape)


def answers(gaussians: Gaussians2D) -> Callable[[Path, Path, ContainerTask], None]:
    return lambda source, target, task: write_npz(target / "gaussians.npz", gaussians)


def make(external, device: str = "cpu", **settings):
    return external(external.make_config({"image": "team/method:1", **settings}), device)


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "give `image: NAME` (engine docker), or `files: PATTERN`"),
        ({"engine": "process"}, "give `command: [program, ...]` (engine process)"),
        ({"image": "a", "engine": "process", "command": ["b"]}, "engine process runs no image"),
        ({"image": "a", "files": "{image}.npz"}, "give `image: NAME`"),
        ({"image": "a", "digest": "sha256:12"}, "expected sha256: and 64 hex digits"),
        ({"image": "a", "limits": {"memory": 3}}, "limits: unknown setting 'memory'; did you mean 'memory_mib'?"),
        ({"image": "a", "limits": {"seconds": float("nan")}}, "limits.seconds must be from 1 to 316224000, got nan"),
        (
            {"image": "a", "limits": {"seconds": 1 << 40}},
            "limits.seconds must be from 1 to 316224000, got 1099511627776",
        ),
        ({"image": "a", "limits": {"memory_mib": -1}}, "limits.memory_mib must be from 1 to 1099511627776, got -1"),
        ({"image": "a", "limits": {"memory_mib": 1 << 50}}, "to 1099511627776, got 1125899906842624"),
        ({"image": "a", "settings": {"x": float("inf")}}, "settings must be plain values that JSON can hold"),
        ({"image": "a", "settings": {"x": {1}}}, "settings must be plain values that JSON can hold"),
        ({"image": "a", "settings": {"x": "y" * 70000}}, "are too long; 65536 are allowed"),
        ({"image": "a", "engine": "podman"}, "engine: "),
        ({"image": "a", "imag": "b"}, "unknown setting 'imag'; did you mean 'image'?"),
    ],
)
def test_settings_that_do_not_fit(external, engine, settings, sentence):
    with pytest.raises(MethodError) as caught:
        external.make_config(settings)
    assert sentence in str(caught.value)


def test_a_command_may_be_one_line(external):
    line = external.make_config({"engine": "process", "command": "python 'my method.py' --fast"})
    words = external.make_config({"engine": "process", "command": ["python", "my method.py", "--fast"]})
    assert line == words


def test_results_of_another_image_under_the_same_name_are_filed_elsewhere(external, engine):
    config, first = configured("external", {"image": "team/method:1"})
    assert config["digest"] == ONE
    assert external.outdated(external.make_config(config)) is None
    engine.images["team/method:1"] = TWO
    sys.modules[external.Config.__module__].known_digest.cache_clear()
    assert configured("external", {"image": "team/method:1"})[1] != first
    assert configured("external", config)[1] == first  # what a record holds says what it was made with
    assert TWO in external.outdated(external.make_config(config))
    with pytest.raises(Unavailable, match=f"is {TWO} here, the configuration says {ONE}"):
        external(external.make_config(config)).prepare()


def test_a_changed_program_of_this_machine_is_another_configuration(tmp_path):
    (tmp_path / "method.py").write_text("1")
    settings = {"engine": "process", "command": ["python", str(tmp_path / "method.py")]}
    before = configured("external", settings)[1]
    assert configured("external", settings)[1] == before
    (tmp_path / "method.py").write_text("2")
    assert configured("external", settings)[1] != before


def test_an_object_of_a_file_is_a_program_of_this_machine(tmp_path, monkeypatch):
    """As containers/runner/splatbench_runner.py takes it: FILE.py:OBJECT."""
    monkeypatch.chdir(tmp_path)
    Path("method.py").write_text("1")
    settings = {"engine": "process", "command": ["python", "method.py:Best", "no.py:Best", ":x", "a:b"]}
    before = configured("external", settings)[1]
    kind = get_method("external")
    command_of = sys.modules[kind.__module__].container.command_of
    assert command_of(kind.make_config(settings)) == ("python", f"{tmp_path}/method.py:Best", "no.py:Best", ":x", "a:b")
    Path("method.py").write_text("2")
    assert configured("external", settings)[1] != before


def test_what_runs_is_the_image_that_was_checked(external, engine, crop, gaussians):
    """Its name may come to stand for another one between two jobs, also between an encoding and its decoding."""
    engine.work = answers(gaussians)
    method = make(external, decoder="gaussians")
    encode_image(method, crop, Budget(gaussians=10))
    engine.images["team/method:1"] = TWO
    encode_image(method, crop, Budget(gaussians=10))
    assert [task.image for task in engine.tasks] == [f"team/method:1@{ONE}"] * 2
    named = f"team/method@{TWO}"
    engine.images[named] = TWO
    encode_image(make(external, image=named), crop, Budget(gaussians=10))
    assert engine.tasks[-1].image == named


@pytest.mark.parametrize("error", [EngineMissing("start docker"), ImageMissing("pull it"), GpuMissing("no such GPU")])
def test_what_is_not_here_is_a_row_that_says_so(external, engine, crop, error):
    method = make(external)

    def fail(*_):
        raise error

    engine.work = fail
    with pytest.raises(Unavailable) as caught:
        encode_image(method, crop, Budget(gaussians=10))
    assert classify(caught.value) == ("not_run", str(error))


def test_an_image_that_is_not_here_leaves_no_digest_and_no_result(external, engine):
    method = make(external, image="team/other")
    assert method.config.digest == ""
    with pytest.raises(Unavailable, match="docker pull team/other"):
        method.prepare()
    engine.images["team/other"] = TWO  # it came between the planning and the run
    with pytest.raises(Unavailable, match="has only now come here; run this again"):
        method.prepare()


# -- what a job tells -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        (Budget(gaussians=10), {"gaussians": 10}),
        (Budget(compression_ratio=20), {"gaussians": 3 * 96 * 96 // 140}),
        (Budget(bpp=0.5), {"bpp": 0.5}),
        (Budget(native=True, iterations=8, seconds=3.5), {"native": True, "iterations": 8, "seconds": 3.5}),
    ],
)
def test_a_job_is_told_in_numbers(external, engine, crop, gaussians, budget, told):
    engine.work = answers(gaussians)
    encode_image(make(external, settings={"a": [1, {"b": None}]}), crop, budget, seed=4, name="secret-name")
    empty = {"gaussians": None, "bpp": None, "native": False, "iterations": None, "seconds": None}
    assert engine.job["budget"] == empty | told
    assert (engine.job["contract"], engine.job["verb"], engine.job["seed"]) == ("1", "encode", 4)
    assert (engine.job["height"], engine.job["width"], engine.job["device"]) == (96, 96, "cpu")
    assert engine.job["settings"] == {"a": [1, {"b": None}]}
    assert set(engine.seen[-1]) == {"job.json", "image.png", "image.npy"}
    assert b"secret" not in b"".join(engine.seen[-1].values())


def test_the_picture_is_there_twice(external, engine, crop, gaussians):
    import io

    from PIL import Image

    engine.work = answers(gaussians)
    encode_image(make(external), crop, Budget(gaussians=10))
    files = engine.seen[-1]
    assert np.array_equal(np.load(io.BytesIO(files["image.npy"]), allow_pickle=False), crop)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(files["image.png"]))), crop)


def test_a_task_has_the_limits_the_threads_and_the_leased_gpu(external, engine, crop, gaussians, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1234")
    monkeypatch.setenv("SPLATBENCH_THREADS", "3")
    engine.work = answers(gaussians)
    for device, gpu in (("cpu", None), ("cuda", "GPU-1234")):
        make(external, device, limits={"memory_mib": 77}, command=["a", "b"]).encode(crop, Budget(gaussians=9), Trace())
        task = engine.tasks[-1]
        assert (task.image, task.command, task.gpu) == (f"team/method:1@{ONE}", ("a", "b"), gpu)
        assert (task.limits.memory_mib, task.limits.threads, engine.job["threads"]) == (77, 3, 3)
        assert engine.job["device"] == device
        assert [(mount.target, mount.read_only) for mount in task.mounts] == [
            ("/splatbench/in", True),
            ("/splatbench/out", False),
        ]


# -- whose clock counts -----------------------------------------------------------------------------------------------


def marked(gaussians: Gaussians2D, before: float, between: float) -> Callable[[Path, Path, ContainerTask], None]:
    """A program with marks, under an engine that looks every 2 ms."""

    def work(source: Path, target: Path, task: ContainerTask) -> None:
        def wait(seconds: float) -> None:
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                assert task.watch is not None and not task.watch()
                time.sleep(0.002)

        wait(before)
        (target / "started").touch()
        wait(between)
        (target / "finished").touch()
        wait(before)
        write_npz(target / "gaussians.npz", gaussians)

    return work


def test_the_time_between_the_marks_counts(external, engine, crop, gaussians):
    engine.work = marked(gaussians, before=0.3, between=0.2)
    encoded = encode_image(make(external), crop, Budget(gaussians=10))
    assert 0.2 <= encoded.files[-1].seconds < 0.3 + 0.2  # much more only on a machine that does not run us
    assert any("the time between the program's marks counts, of 5.00 s" in note for note in encoded.notes)
    assert sum(encoded.stage_seconds.values()) <= encoded.files[-1].seconds


def test_marks_between_two_looks_never_flatter(external, engine, crop, gaussians):
    """Nobody looked while it worked: all of the time since the last look counts."""

    def work(source: Path, target: Path, task: ContainerTask) -> None:
        task.watch()
        time.sleep(0.1)
        (target / "started").touch()
        (target / "finished").touch()
        write_npz(target / "gaussians.npz", gaussians)

    engine.work = work
    assert encode_image(make(external), crop, Budget(gaussians=10)).files[-1].seconds >= 0.1


def test_the_start_of_a_container_is_not_the_programs_time(external, engine, crop, gaussians):
    """It was over before the engine's first look: its life is the upper bound."""

    def work(source: Path, target: Path, task: ContainerTask) -> None:
        time.sleep(0.3)
        (target / "started").touch()
        (target / "finished").touch()
        write_npz(target / "gaussians.npz", gaussians)

    engine.work = work
    engine.ended = Ended("exited", 0, "", seconds=0.01)
    assert encode_image(make(external), crop, Budget(gaussians=10)).files[-1].seconds < 0.1


@pytest.mark.parametrize(
    ("settings", "marks", "note"),
    [
        ({}, (), "no time marks: the whole life of the container counts"),
        ({}, ("started",), "no time marks"),
        ({}, ("finished",), "no time marks"),
        ({"clock": "container"}, ("started", "finished"), "the whole life of the container counts, as configured"),
    ],
)
def test_else_the_whole_life_counts(external, engine, crop, gaussians, settings, marks, note):
    def work(source: Path, target: Path, task: ContainerTask) -> None:
        for name in marks:
            (target / name).touch()
        write_npz(target / "gaussians.npz", gaussians)

    engine.work = work
    encoded = encode_image(make(external, **settings), crop, Budget(gaussians=10, seconds=2))
    assert encoded.files[-1].seconds == pytest.approx(5.0, abs=0.05)  # what the engine measured
    assert any(note in text for text in encoded.notes)
    assert any("the budget allows 2 s" in text for text in encoded.notes)


def test_only_marked_decoding_counts(external, engine, crop):
    def work(source: Path, target: Path, task: ContainerTask) -> None:
        time.sleep(0.2)
        task.watch()
        (target / "started").touch()
        (target / "finished").touch()
        task.watch()
        np.save(target / "picture.npy", crop)

    engine.work = work
    clock = Trace()
    clock.start()
    decoded = make(external, decoder="container").decode(b"payload", clock)
    assert np.array_equal(decoded, crop) and 0 < clock.seconds < 0.2
    assert engine.seen[-1].keys() == {"job.json", "payload.bin"}
    assert engine.seen[-1]["payload.bin"] == b"payload"
    assert engine.job.keys() == {"contract", "verb", "threads"}


# -- answers ----------------------------------------------------------------------------------------------------------


def test_gaussians_come_back_bit_for_bit(external, engine, crop, gaussians):
    engine.work = answers(gaussians)
    method = make(external)
    encoded = encode_image(method, crop, Budget(gaussians=10))
    decoded = external.from_bytes(encoded.files[-1].data)
    for name, value in gaussians.tensors().items():
        assert np.array_equal(decoded.tensors()[name], value), name
    assert encoded.peak_memory_mib == 123.0
    assert method.container == {"name": "team/method:1", "digest": ONE, "engine": "docker"}


def test_a_file_of_ours_stays_as_it_is_and_told_numbers_are_told(external, engine, crop):
    kind = get_method("random_gaussians")
    data = encode_image(kind(kind.make_config({})), crop, Budget(gaussians=10)).files[-1].data

    def work(source: Path, target: Path, task: ContainerTask) -> None:
        (target / "encoding.s2d").write_bytes(data)
        told = {"notes": ["\x1b[1mloud\n" + "x" * 999], "nominal_bits": 80, "iterations": 5, "seconds": 0.5}
        (target / "report.json").write_text(json.dumps(told))

    engine.work = work
    encoded = encode_image(make(external), crop, Budget(gaussians=10))
    final = encoded.files[-1]
    assert (final.data, final.n_actual, final.nominal_bits, final.iterations) == (data, 10, 80, 5)
    assert "told by the program, not measured: 0.5 s, 5 iterations, 80 nominal bits" in encoded.notes
    assert all(note.isprintable() and len(note) <= 300 for note in encoded.notes)


# -- our methods behind the contract ----------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path, crop) -> Callable[..., JobFolder]:
    def make(settings, **changed) -> JobFolder:
        folder = JobFolder(tmp_path / "in", tmp_path / "out")
        folder.input.mkdir()
        folder.output.mkdir()
        height, width = crop.shape[:2]
        usual = {"height": height, "width": width, "budget": JobBudget(gaussians=10), "seed": 1, "threads": 1}
        folder.put_encoding(EncodeJob(**{**usual, **changed}, settings=settings), crop)
        return folder

    return make


@pytest.mark.slow
def test_our_own_method_gives_the_same_file_through_the_contract(external, crop):
    """The proof of the contract, with a child process; tests/real/test_contract.py does the same in a container."""
    from splatbench.render.jit import cache_folder

    config, budget = {"iterations": 20}, Budget(gaussians=50)
    kind = get_method("gaussianimage")
    direct = encode_image(kind(kind.make_config(config)), crop, budget, seed=3).files[-1]
    compiled = cache_folder()
    assert compiled is not None
    command = ["env", f"SPLATBENCH_CACHE={compiled.parent}", sys.executable, "-m", "splatbench", "contract-run"]
    settings = {"method": "gaussianimage", "config": config}
    program = {"engine": "process", "command": command, "settings": settings, "limits": {"threads": 1}}
    through = encode_image(external(external.make_config(program)), crop, budget, seed=3).files[-1]
    assert through.data == direct.data
    assert (through.n_actual, through.iterations) == (direct.n_actual, direct.iterations) == (50, 20)


def test_serving_writes_marks_report_and_file(job, crop):
    folder = job({"method": "random_gaussians", "config": {"sigma": 2.0}})
    assert serve(folder.input, folder.output) == 0
    names = {path.name for path in folder.output.iterdir()}
    assert names == {"started", "finished", "encoding.s2d", "report.json"}
    assert json.loads((folder.output / "report.json").read_text())["seconds"] > 0


@pytest.mark.parametrize(
    ("settings", "changed", "sentence"),
    [
        ({"method": "gaussianimag"}, {}, "did you mean 'gaussianimage'?"),
        ({"method": "random_gaussians", "confg": {}}, {}, "settings must be {method: NAME, config: {...}}"),
        ({"method": "random_gaussians", "config": {"sgma": 1}}, {}, "did you mean 'sigma'?"),
        ({"method": "codecs"}, {"budget": JobBudget(native=True)}, "writes .jpg files; the contract takes .s2d"),
        ({"method": "external", "config": {"image": "a"}}, {}, "runs another program"),
        ({"method": "random_gaussians"}, {"decoder": "container"}, "set `decoder: gaussians`"),
        ({"method": "random_gaussians"}, {"height": 5}, "the job says 5 x 96"),
        ({"method": "random_gaussians"}, {"budget": JobBudget()}, "a budget needs exactly one of"),
        ({"method": "random_gaussians"}, {"budget": JobBudget(gaussians=10**6)}, "are more than the image has pixels"),
    ],
)
def test_serving_says_what_is_wrong(job, settings, changed, sentence):
    folder = job(settings, **changed)
    assert serve(folder.input, folder.output) == 1
    told = json.loads((folder.output / "error.json").read_text())
    assert told["status"] == "failed" and sentence in told["reason"], told
    assert not (folder.output / "encoding.s2d").exists()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"contract": "2"}', '{"contract": "1", "verb": "decode", "threads": 1}']
)
def test_serving_refuses_what_is_no_encoding(tmp_path, content):
    (tmp_path / "job.json").write_text(content)
    assert serve(tmp_path, tmp_path) == 1
    assert "job.json" in json.loads((tmp_path / "error.json").read_text())["reason"]
