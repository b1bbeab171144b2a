"""The evaluate stage of a shard, in a process of its own. Measures only what is not measured yet."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splatbench.codec import BitstreamError
from splatbench.datasets import DataMissing, ImageError, load_image, pixel_sha256
from splatbench.method import Unavailable
from splatbench.record import Status
from splatbench.runner.encode import check_writable
from splatbench.runner.encoding import describe, is_out_of_memory
from splatbench.runner.matching import NotRun
from splatbench.runner.plain import plain, readable
from splatbench.runner.plan import Plan, Run, Shard
from splatbench.runner.progress import Reporter
from splatbench.runner.results import (
    EncodedFile,
    EncodeResult,
    EvaluateResult,
    FileEvaluation,
    Summary,
    examine,
    is_older,
    read_result,
    write_result,
)
from splatbench.runner.scoring import STRIP_PIXELS, Score, decoder_of, metric_version, score, warm_up
from splatbench.runner.supervise import DeathMark
from splatbench.trace import Diverged


@dataclass(frozen=True)
class _Original:
    pixels: np.ndarray
    sha256: str


def evaluate_shard(plan: Plan, shard: Shard, reporter: Reporter, retry_before: float = 0.0) -> Summary:
    """Measures what the shard's encodings still lack and writes its marker.

    Image by image, so that each original is read once for all runs.

    Args:
        retry_before: time stamp; evaluations that failed before it are tried again.

    Raises:
        OSError: results cannot be written. Everything measured before stays.
    """
    begin = time.perf_counter()
    check_writable(plan.root)
    summary = Summary(stage="evaluate")
    job = _Job(plan, shard, reporter, retry_before, summary)
    for image in shard.images:
        originals: list[_Original] = []
        for run in shard.runs:
            job.evaluate(run, image, originals)
    summary.wall_seconds = time.perf_counter() - begin
    write_result(plan.evaluate_marker(shard), summary)
    return summary


class _Job:
    """What the images of one process share."""

    def __init__(self, plan: Plan, shard: Shard, reporter: Reporter, retry_before: float, summary: Summary) -> None:
        self.plan, self.shard, self.reporter = plan, shard, reporter
        self.retry_before, self.summary = retry_before, summary
        self._warm: set[str] = set()

    def evaluate(self, run: Run, image: str, originals: list[_Original]) -> None:
        """Brings the evaluation of one encoded image up to date; `originals` keeps the picture once it was read."""
        encoded = read_result(EncodeResult, self.plan.encoding(run, image))
        if encoded is None or encoded.status != "ok":
            self.summary.kept += 1  # the encode stage's row says why
            return
        path = self.plan.evaluation(run, image)
        found, damage = examine(EvaluateResult, path)
        if damage:
            self.reporter.line(f"{path}: {damage}; measured again")
        result = found or EvaluateResult(image=image)
        retry = found is not None and is_older(path, self.retry_before)
        work = self._missing(encoded, result, retry)
        if work:
            # From here on `result` is also what is written should the process die.
            for file, _, base in work:
                result.snapshots[file.snapshot] = base
            targets = [("snapshots", file.snapshot) for file, _, _ in work]
            before = result.model_copy(deep=True)
            with DeathMark(self.plan.root, self.shard.name, path, result, targets):
                for file, names, base in work:
                    measured = self._measure(run, image, file, names, base, encoded, originals)
                    result.snapshots[file.snapshot] = measured
                if result != before or not path.exists():
                    write_result(path, result)
            self.summary.done += 1
            self.reporter.line(f"{image} {run.label}: {_outcome(result.snapshots)}")
        else:
            self.summary.kept += 1
        for evaluation in result.snapshots.values():
            self.summary.failed += evaluation.status != "ok"
            self.summary.open += evaluation.status == "not_run"

    def _missing(
        self, encoded: EncodeResult, result: EvaluateResult, retry: bool
    ) -> list[tuple[EncodedFile, list[str], FileEvaluation]]:
        """Files that lack metrics of the experiment, what they lack, and what is known already."""
        work = []
        for file in encoded.files:
            known = result.snapshots.get(file.snapshot)
            if known is None or not known.is_of(encoded, file):
                known = FileEvaluation(file_sha256=file.sha256, pixel_sha256=encoded.pixel_sha256 or "")
            elif known.status not in ("ok", "not_run") and not retry:
                continue
            names = [
                name
                for name in self.plan.experiment.metrics
                if name not in known.metrics or known.metrics[name].version != metric_version(name)
            ]
            if names or known.status != "ok":
                work.append((file, names, known))
        return work

    def _measure(
        self,
        run: Run,
        image: str,
        file: EncodedFile,
        names: list[str],
        evaluation: FileEvaluation,
        encoded: EncodeResult,
        originals: list[_Original],
    ) -> FileEvaluation:
        """An evaluation with the metrics `names`, or why that failed."""
        evaluation.status, evaluation.reason = "ok", None
        for name in names:
            evaluation.metrics.pop(name, None)  # of another version of the metric
        try:
            original = self._original(run, image, encoded, originals)
            data = _content(self.plan.encoding(run, image).parent / file.file, file.sha256)
            suffix = Path(file.file).suffix
            decoder = decoder_of(run.entry.method, run.config, suffix)
            if decoder is None:
                self._warm_up(run.entry.method, data, suffix, original.pixels)
            begin = time.perf_counter()
            repeats = self.plan.experiment.timing_repeats
            measured = score(data, original.pixels, names, suffix, repeats, decoder=decoder)
            elapsed = time.perf_counter() - begin
            filled = _filled(evaluation, measured, elapsed)
        except Exception as error:
            evaluation.status, reason = _classify(error)
            evaluation.reason = readable(reason)
            if evaluation.status == "failed":
                self.reporter.failure(f"{image} {run.label}", evaluation.reason, error)
            return evaluation
        self.summary.busy_seconds += elapsed
        return filled

    def _warm_up(self, method: str, data: bytes, suffix: str, original: np.ndarray) -> None:
        """Imports, compilation and weights are not counted as evaluation. A large picture takes long enough anyway."""
        if not self._warm:
            warm_up(self.plan.experiment.metrics)
        if method not in self._warm and original.size <= 3 * STRIP_PIXELS:
            score(data, original, [], suffix)
        self._warm.add(method)

    def _original(self, run: Run, image: str, encoded: EncodeResult, originals: list[_Original]) -> _Original:
        if not originals:
            pixels = load_image(self.plan.datasets[run.dataset].path(image)).pixels
            originals.append(_Original(pixels, pixel_sha256(pixels)))
        if originals[0].sha256 != encoded.pixel_sha256:
            raise ImageError(f"{image} has changed since it was encoded; run the encode stage again")
        return originals[0]


def _content(path: Path, sha256: str) -> bytes:
    """The bytes that were encoded and no others, since the values are put down to them.

    Raises:
        NotRun: the file is gone, or another.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotRun(f"{path.name} cannot be read ({error.strerror or error}); run the experiment again") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise NotRun(f"{path.name} is not what was encoded; run the experiment again")
    return data


def _filled(evaluation: FileEvaluation, measured: Score, elapsed: float) -> FileEvaluation:
    """The evaluation with what measuring gave in `elapsed` seconds.

    Raises:
        MethodError: that is nothing a result can hold.
    """
    metrics = {
        name: {"value": value, "version": metric_version(name), "seconds": measured.seconds[name]}
        for name, value in measured.values.items()
    }
    first = evaluation.decode_seconds is None
    found = {
        "n_actual": measured.n_actual,
        "decode_seconds": measured.decode_seconds if first else evaluation.decode_seconds,
        "metrics": evaluation.metrics | metrics,
        "not_run": measured.not_run,
        "evaluate_seconds": evaluation.evaluate_seconds + (elapsed if measured.values else 0.0),
    }
    return plain(FileEvaluation, **{**dict(evaluation), **found})


def _classify(error: Exception) -> tuple[Status, str]:
    if isinstance(error, (DataMissing, NotRun, Unavailable)):
        return "not_run", str(error)
    if isinstance(error, Diverged):
        return "diverged", str(error)
    if is_out_of_memory(error):
        return "out_of_memory", f"while evaluating: {describe(error)}"
    if isinstance(error, BitstreamError):
        return "failed", f"the file cannot be decoded: {error}"
    return "failed", f"while evaluating: {describe(error)}"


def _outcome(snapshots: dict[str, FileEvaluation]) -> str:
    final = snapshots.get("final") or next(iter(snapshots.values()))
    if final.status != "ok":
        return f"{final.status}: {final.reason}"
    values = ", ".join(f"{name} {value.value:.4f}" for name, value in final.metrics.items())
    return values + ("; not run: " + ", ".join(final.not_run) if final.not_run else "")
