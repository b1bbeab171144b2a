"""The evaluate stage of a shard, in a process of its own. Measures only what is not measured yet."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splatbench.codec import BitstreamError
from splatbench.datasets import DataMissing, ImageError, load_image, pixel_sha256
from splatbench.record import Status
from splatbench.runner.encode import check_writable
from splatbench.runner.encoding import describe, is_out_of_memory
from splatbench.runner.plan import Plan, Run, Shard
from splatbench.runner.progress import Reporter
from splatbench.runner.results import (
    EncodedFile,
    EncodeResult,
    EvaluateResult,
    FileEvaluation,
    MetricValue,
    Summary,
    read_result,
    write_result,
)
from splatbench.runner.scoring import STRIP_PIXELS, metric_version, score, warm_up
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
    job = _Job(plan, reporter, retry_before, summary)
    for image in shard.images:
        originals: list[_Original] = []
        for run in shard.runs:
            job.evaluate(run, image, originals)
    summary.wall_seconds = time.perf_counter() - begin
    write_result(plan.evaluate_marker(shard), summary)
    return summary


class _Job:
    """What the images of one process share."""

    def __init__(self, plan: Plan, reporter: Reporter, retry_before: float, summary: Summary) -> None:
        self.plan, self.reporter, self.retry_before, self.summary = plan, reporter, retry_before, summary
        self._warm: set[str] = set()

    def evaluate(self, run: Run, image: str, originals: list[_Original]) -> None:
        """Brings the evaluation of one encoded image up to date; `originals` keeps the picture once it was read."""
        encoded = read_result(EncodeResult, self.plan.encoding(run, image))
        if encoded is None or encoded.status != "ok":
            self.summary.kept += 1  # the encode stage's row says why
            return
        path = self.plan.evaluation(run, image)
        result = read_result(EvaluateResult, path) or EvaluateResult(image=image)
        stale = path.stat().st_mtime < self.retry_before if path.exists() else False
        changed = False
        for file in encoded.files:
            known = _valid(result.snapshots.get(file.snapshot), file, encoded)
            if known is not None and known.status != "ok" and stale:
                known = None
            updated = self._update(run, image, file, known, encoded, originals)
            if updated is not None:
                result.snapshots[file.snapshot] = updated
                changed = True
        if changed:
            write_result(path, result)
            self.summary.done += 1
            self.reporter.line(f"{image} {run.label}: {_outcome(result.snapshots)}")
        else:
            self.summary.kept += 1
        for evaluation in result.snapshots.values():
            self.summary.failed += evaluation.status != "ok"
            self.summary.open += evaluation.status == "not_run"

    def _update(
        self,
        run: Run,
        image: str,
        file: EncodedFile,
        known: FileEvaluation | None,
        encoded: EncodeResult,
        originals: list[_Original],
    ) -> FileEvaluation | None:
        """The evaluation with all metrics that the experiment asks for; None if nothing was missing."""
        metrics = known.metrics if known is not None else {}
        missing = [
            name
            for name in self.plan.experiment.metrics
            if name not in metrics or metrics[name].version != metric_version(name)
        ]
        if known is not None and (not missing or known.status not in ("ok", "not_run")):
            return None
        begin = time.perf_counter()
        base = known or FileEvaluation(file_sha256=file.sha256, pixel_sha256=encoded.pixel_sha256 or "")
        updated = base.model_copy(update={"status": "ok", "reason": None, "not_run": {}})
        label = f"{image} {run.label}"
        try:
            original = self._original(run, image, encoded, originals)
            data = (self.plan.encoding(run, image).parent / file.file).read_bytes()
            suffix = Path(file.file).suffix
            self._warm_up(run.entry.method, data, suffix, original.pixels)
            begin = time.perf_counter()
            repeats = self.plan.experiment.timing_repeats
            measured = score(data, original.pixels, missing, suffix, repeats)
        except Exception as error:
            updated.status, updated.reason = _classify(error)
            if updated.status == "failed":
                self.reporter.failure(label, f"failed: {updated.reason}", error)
            return updated
        updated.n_actual = measured.n_actual
        if updated.decode_seconds is None:
            updated.decode_seconds = measured.decode_seconds
        updated.metrics = dict(metrics) | {
            name: MetricValue(value=value, version=metric_version(name), seconds=measured.seconds[name])
            for name, value in measured.values.items()
        }
        updated.not_run = measured.not_run
        elapsed = time.perf_counter() - begin
        updated.evaluate_seconds += elapsed
        self.summary.busy_seconds += elapsed
        # Nothing new and nothing newly impossible: the file on disk says the same already.
        if known is not None and known.status == "ok" and not measured.values and known.not_run == updated.not_run:
            return None
        return updated

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


def _valid(known: FileEvaluation | None, file: EncodedFile, encoded: EncodeResult) -> FileEvaluation | None:
    """The evaluation if it is of this very file and original."""
    if known is None or (known.file_sha256, known.pixel_sha256) != (file.sha256, encoded.pixel_sha256):
        return None
    return known


def _classify(error: Exception) -> tuple[Status, str]:
    if isinstance(error, DataMissing):
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
