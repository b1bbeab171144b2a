"""What of an experiment has to be made again, though Snakemake finds its files and their time stamps in order."""

from __future__ import annotations

from pathlib import Path

from splatbench.runner.collect import is_collected
from splatbench.runner.plan import Plan, Run, Shard
from splatbench.runner.results import EncodeResult, EvaluateResult, Summary, read_result


def open_files(plan: Plan, retry: bool = False) -> list[Path]:
    """What Snakemake has to make again though it is there: markers of jobs that left something to be made (rows that
    lack data, weights or a device; results that are gone or damaged), and records that do not say what the results say.
    Changes nothing.

    Args:
        retry: failures are something to be made, too.
    """
    if not plan.root.is_dir():
        return []
    again, markers = [], []
    for shard in plan.shards.values():
        encode, evaluate = plan.encode_marker(shard), plan.evaluate_marker(shard)
        markers += [encode, evaluate]
        if _is_open(encode, retry) or (encode.exists() and not _all_encoded(plan, shard)):
            again.append(encode)
        if _is_open(evaluate, retry) or (evaluate.exists() and not _all_evaluated(plan, shard)):
            again.append(evaluate)
    again += [marker for marker in map(plan.fetch_marker, plan.datasets) if _is_open(marker, retry)]
    # Where any marker is open or missing, everything is collected anyway.
    if not again and plan.records.is_file() and all(map(Path.exists, markers)) and not is_collected(plan):
        again.append(plan.records)
    return again


def _is_open(marker: Path, retry: bool) -> bool:
    """Whether a job left rows to be made; True for a marker that cannot be read."""
    if not marker.is_file():
        return False
    summary = read_result(Summary, marker)
    return summary is None or bool(summary.open or (retry and summary.failed))


def _all_encoded(plan: Plan, shard: Shard) -> bool:
    for path in (plan.encoding(run, image) for run in shard.runs for image in shard.images):
        result = read_result(EncodeResult, path)
        if result is None or not result.files_are_whole(path.parent):
            return False
    return True


def _all_evaluated(plan: Plan, shard: Shard) -> bool:
    return all(_is_evaluated(plan, run, image) for run in shard.runs for image in shard.images)


def _is_evaluated(plan: Plan, run: Run, image: str) -> bool:
    encoded = read_result(EncodeResult, plan.encoding(run, image))
    if encoded is None or encoded.status != "ok":
        return True  # its encode job comes first
    result = read_result(EvaluateResult, plan.evaluation(run, image))
    if result is None:
        return False
    known = [(result.snapshots.get(file.snapshot), file) for file in encoded.files]
    return all(evaluation is not None and evaluation.is_of(encoded, file) for evaluation, file in known)
