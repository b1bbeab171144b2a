"""The encode stage of a shard: resume, failure rows, and what may and may not stop the run."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splatbench.datasets import DataMissing, ImageError, load_image, pixel_sha256
from splatbench.devices import DeviceMissing, gpu_slots, lease_gpu
from splatbench.experiment import Entry
from splatbench.files import write_atomic
from splatbench.method import Method, Unavailable, get_method
from splatbench.provenance import provenance
from splatbench.record import ContainerImage, Provenance, Status
from splatbench.runner.encoding import Encoded, Start, describe, encode_image, is_out_of_memory, warm_up
from splatbench.runner.matching import NotRun, matched_budget, still_matches, warm_start
from splatbench.runner.plain import plain, readable
from splatbench.runner.plan import Plan, Run, Shard
from splatbench.runner.progress import Reporter
from splatbench.runner.results import (
    EncodedFile,
    EncodeResult,
    SourceState,
    Summary,
    examine,
    file_name,
    is_older,
    read_result,
    safe_name,
    write_result,
)
from splatbench.runner.supervise import DeathMark
from splatbench.trace import Diverged


@dataclass(frozen=True)
class Task:
    """One row to be: a run on one image, and the file that will hold its result."""

    run: Run
    image: str
    path: Path

    @property
    def label(self) -> str:
        return f"{self.image} {self.run.label}"


def encode_shard(plan: Plan, shard: Shard, reporter: Reporter, threads: int = 0, retry_before: float = 0.0) -> Summary:
    """Encodes what the shard still lacks and writes its marker.

    Failures of a method, an image or a device become rows; only a broken place to write stops the job.

    Args:
        threads: recorded as the number of threads that the process was given.
        retry_before: time stamp; rows that failed before it are tried again.

    Raises:
        OSError: results cannot be written. Everything finished before stays.
    """
    begin = time.perf_counter()
    check_writable(plan.root)
    tasks = [Task(run, image, plan.encoding(run, image)) for run in shard.runs for image in shard.images]
    todo = [task for task in tasks if not is_finished(plan, task, retry_before)]
    summary = Summary(stage="encode", kept=len(tasks) - len(todo))
    if todo:
        reporter.line(f"{shard.name}: {len(todo)} to encode, {summary.kept} finished before")
    for task in todo:
        if damage := _damage(task.path):
            reporter.line(f"{task.path}: {damage}; encoded again")
    with contextlib.ExitStack() as stack:
        encoder = _Encoder(plan, reporter, threads, stack)
        for task in todo:
            with DeathMark(plan.root, shard.name, task.path, encoder.blank(task)):
                result, files = encoder.encode(task)
                # The files first, the JSON that vouches for them last.
                for name, data in files.items():
                    write_atomic(task.path.parent / name, data)
                write_result(task.path, result)
            summary.done += 1
            summary.busy_seconds += result.busy_seconds
            reporter.line(f"{task.label}: {_outcome(result)}")
    for task in tasks:
        _count(summary, task, read_result(EncodeResult, task.path))
    summary.wall_seconds = time.perf_counter() - begin
    write_result(plan.encode_marker(shard), summary)
    return summary


def is_finished(plan: Plan, task: Task, retry_before: float = 0.0) -> bool:
    """Whether a row needs no work: whole, of this very image, and with all that the experiment asks for."""
    result = read_result(EncodeResult, task.path)
    if result is None or result.status == "not_run" or not _same_image(plan, task, result):
        return False
    if not still_matches(plan, task.run, task.image, result):
        return False
    if result.status != "ok":
        return not is_older(task.path, retry_before)
    wanted = {str(name) for name in task.run.entry.snapshots}
    return (
        wanted <= set(result.snapshots_wanted)
        and (not result.timed or len(result.encode_seconds_all) >= plan.experiment.timing_repeats)
        and result.files_are_whole(task.path.parent)
    )


def _damage(path: Path) -> str:
    """What is wrong with a result that was finished once; empty if nothing is, or there is none."""
    result, damage = examine(EncodeResult, path)
    if result is None or result.files_are_whole(path.parent):
        return damage
    return "its files are not what was encoded"


def _same_image(plan: Plan, task: Task, result: EncodeResult) -> bool:
    """Whether the image is still the one that was encoded. Reads pixels only where nothing cheaper tells."""
    dataset = plan.datasets[task.run.dataset]
    known = dataset.entry(task.image).pixel_sha256
    if known is not None:
        return result.pixel_sha256 in (known, None)
    try:
        path = dataset.path(task.image)
        if SourceState.of(path) == result.source:
            return True
        return pixel_sha256(load_image(path).pixels) == result.pixel_sha256
    except DataMissing:
        return True  # the picture is gone, its result stands
    except ImageError:
        return False


class _Encoder:
    """Holds what tasks of one process share: the leased GPU, prepared methods, the last image read."""

    def __init__(self, plan: Plan, reporter: Reporter, threads: int, stack: contextlib.ExitStack) -> None:
        self.plan, self.reporter, self.threads, self.stack = plan, reporter, threads, stack
        self._methods: dict[tuple[str, str | None], Method | BaseException] = {}
        self._leased = False
        self._image: tuple[tuple[str, str], Loaded] | None = None

    def blank(self, task: Task) -> EncodeResult:
        """A row without outcome."""
        known = self.plan.datasets[task.run.dataset].entry(task.image)
        return EncodeResult(
            image=task.image,
            pixel_sha256=known.pixel_sha256,
            height=known.height,
            width=known.width,
            snapshots_wanted=[str(name) for name in task.run.entry.snapshots],
            provenance=self._provenance("cpu"),
        )

    def _provenance(self, device: str) -> Provenance:
        return provenance(device, self.threads)

    def encode(self, task: Task) -> tuple[EncodeResult, dict[str, bytes]]:
        """The row of a task and its files' contents by name; failures are rows without files."""
        result = self.blank(task)
        try:
            loaded = self._load(task)
            result.pixel_sha256, result.source, result.notes = loaded.sha256, loaded.source, list(loaded.notes)
            result.height, result.width = loaded.pixels.shape[:2]
            budget = matched_budget(self.plan, task.run, task.image)
            result.n_target = budget.count(result.height, result.width)
            start = None
            if task.run.budget.warm:
                result.start, start = warm_start(self.plan, task.run, task.image)
            method = self._method(task, start)
            result.provenance = self._provenance(method.device)
            result.container = ContainerImage(**method.container) if method.container else None
            entry = task.run.entry
            with self.reporter.steps(task.label) as on_step:
                repeats = self.plan.experiment.timing_repeats
                seed, snapshots = task.run.seed, entry.snapshots
                encoded = encode_image(
                    method, loaded.pixels, budget, seed, snapshots, repeats, on_step, start, task.image
                )
            made, files = _filled(result, encoded, safe_name(task.image), method.suffix)
        except Exception as error:
            result.status, reason = classify(error)
            result.reason = readable(reason)
            if isinstance(error, ImageError):
                with contextlib.suppress(DataMissing):
                    result.source = SourceState.of(self.plan.datasets[task.run.dataset].path(task.image))
            if result.status == "failed" and not isinstance(error, ImageError):
                self.reporter.failure(task.label, "failed, the traceback is in the log", error)
            return result, {}
        if not made.timed:
            made.provenance.device = "elsewhere"  # than this machine, which has read a file
        return made, files

    def _load(self, task: Task) -> Loaded:
        key = (task.run.dataset, task.image)
        if self._image is None or self._image[0] != key:
            self._image = None  # before the next: two large pictures need not be in memory
            located = self.plan.datasets[task.run.dataset].locate(task.image)
            self._image = (key, Loaded.read(located.path, located.notes))
        return self._image[1]

    def _method(self, task: Task, start: Start | None) -> Method:
        """The entry's method, prepared and warmed up, apart for each entry that it starts from; what its preparation
        raised is raised for every image."""
        entry = task.run.entry
        key = entry.id, task.run.budget.matched_to if start is not None else None
        if key not in self._methods:
            self._methods[key] = self._prepare(entry, task, start)
        method = self._methods[key]
        if isinstance(method, BaseException):
            raise method
        return method

    def _prepare(self, entry: Entry, task: Task, start: Start | None) -> Method | BaseException:
        try:
            device = self.plan.device(entry)
            if device == "cuda" and not self._leased:
                waiting = lambda: self.reporter.line("waiting for a free GPU")  # noqa: E731
                self.stack.enter_context(lease_gpu(gpu_slots(), on_wait=waiting))
                self._leased = True
            kind = get_method(entry.method)
            method = kind(kind.make_config(entry.config), device)
            method.prepare()
        except Exception as error:
            self.reporter.failure(entry.id, f"cannot be prepared: {describe(error)}", error)
            return error
        if method.outside:
            return method  # nothing of its work happens in this process
        try:
            warm_up(method, task.run.budget, start)
        except Exception as error:
            self.reporter.failure(entry.id, f"the warm-up on a 64x48 picture failed: {describe(error)}", error)
        return method


@dataclass(frozen=True)
class Loaded:
    """A picture in memory and where it came from."""

    pixels: np.ndarray
    sha256: str
    notes: tuple[str, ...]
    source: SourceState | None

    @classmethod
    def read(cls, path: Path, notes: Iterable[str] = ()) -> Loaded:
        """Raises ImageError for anything that is not a picture."""
        state = SourceState.of(path)
        image = load_image(path)
        return cls(image.pixels, pixel_sha256(image.pixels), (*notes, *image.notes), state)


def classify(error: Exception) -> tuple[Status, str]:
    """Status and reason of a row whose making raised `error`."""
    if isinstance(error, (NotRun, DataMissing, DeviceMissing, Unavailable)):
        return "not_run", str(error)
    if isinstance(error, Diverged):
        return "diverged", str(error)
    if is_out_of_memory(error):
        return "out_of_memory", describe(error)
    return "failed", str(error) if isinstance(error, ImageError) else describe(error)


def _filled(result: EncodeResult, encoded: Encoded, stem: str, suffix: str) -> tuple[EncodeResult, dict[str, bytes]]:
    """A row with what its encoding gave, and the files' contents by name.

    Raises:
        MethodError: the method reported what no row can hold.
    """
    contents: dict[str, bytes] = {}
    files = []
    for file in encoded.files:
        name = file_name(stem, file.snapshot, suffix)
        contents[name] = file.data
        facts = {field.name: getattr(file, field.name) for field in dataclasses.fields(file)}
        data = facts.pop("data")
        facts |= {"file": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        files.append(plain(EncodedFile, **facts))
    found = {field.name: getattr(encoded, field.name) for field in dataclasses.fields(encoded)}
    notes = [readable(note) if isinstance(note, str) else note for note in encoded.notes]
    found |= {"files": files, "notes": [*result.notes, *notes]}
    found["encode_seconds_all"] = found.pop("seconds_all")
    return plain(EncodeResult, **{**dict(result), **found}), contents


def _outcome(result: EncodeResult) -> str:
    if result.status != "ok" or result.final is None:
        return f"{result.status}: {result.reason}"
    count = f"{result.final.n_actual} Gaussians, " if result.final.n_actual is not None else ""
    quality = f"{result.curve[-1][2]['psnr']:.2f} dB, " if result.curve and "psnr" in result.curve[-1][2] else ""
    took = f"{result.final.seconds:.2f} s" if result.timed else "made elsewhere"
    return f"{count}{quality}{result.final.bytes} bytes, {took}"


def _count(summary: Summary, task: Task, result: EncodeResult | None) -> None:
    if result is None or result.status == "not_run":
        summary.open += 1
    if result is not None and result.status != "ok":
        summary.failed += 1
        summary.reasons.append(f"{task.label}: {result.status}: {result.reason}")


def check_writable(folder: Path) -> None:
    """Finds out before hours of work, not after, that results cannot be written.

    Raises:
        OSError: naming the folder and the reason.
    """
    probe = folder / f".writable-{os.getpid()}"
    write_atomic(probe, b"")
    probe.unlink(missing_ok=True)  # a job in another container, or on another machine, may have the same process id
