"""The collect stage: one record per row of the experiment, in the order of its file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from splatbench.method import get_method
from splatbench.metrics import bits_per_pixel
from splatbench.record import Record, to_line, write_records
from splatbench.runner.plan import Plan, Run
from splatbench.runner.results import EncodedFile, EncodeResult, EvaluateResult, FileEvaluation, read_result


def collect(plan: Plan) -> list[Record]:
    """Writes `records.jsonl` and returns its records; rows that nobody made yet are `not_run`.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    records = list(_all_records(plan))
    write_records(plan.records, records)
    return records


def is_collected(plan: Plan) -> bool:
    """Whether `records.jsonl` is what `collect` would write now."""
    try:
        with open(plan.records, encoding="utf-8") as file:
            return all(a == b for a, b in zip_longest(file, (f"{to_line(record)}\n" for record in _all_records(plan))))
    except (OSError, UnicodeDecodeError):
        return False


def _all_records(plan: Plan) -> Iterator[Record]:
    for run in plan.runs:
        for image in plan.images[run.dataset]:
            yield from _image_records(plan, run, image)


def _image_records(plan: Plan, run: Run, image: str) -> Iterator[Record]:
    encoded = read_result(EncodeResult, plan.encoding(run, image))
    base = _identity(plan, run, image)
    if encoded is None:
        yield Record(**base, status="not_run", reason="not encoded yet; run the experiment again")
        return
    base |= {
        "pixel_sha256": encoded.pixel_sha256,
        "height": encoded.height,
        "width": encoded.width,
        "n_target": encoded.n_target,
        "start": encoded.start,
        "notes": encoded.notes,
        "peak_memory_mib": encoded.peak_memory_mib,
        "gpu_shared": encoded.gpu_shared,
        "container": encoded.container,
        "provenance": encoded.provenance,
    }
    if encoded.status != "ok":
        yield Record(**base, status=encoded.status, reason=encoded.reason)
        return
    evaluated = read_result(EvaluateResult, plan.evaluation(run, image)) or EvaluateResult(image=image)
    wanted = {"final", *(str(name) for name in run.entry.snapshots)}
    for file in encoded.files:
        if file.snapshot in wanted:
            yield _file_record(plan, run, image, base, encoded, file, evaluated.snapshots.get(file.snapshot))


def _identity(plan: Plan, run: Run, image: str) -> dict[str, Any]:
    entry = run.entry
    implementation = entry.implementation or get_method(entry.method).implementation
    return {
        "experiment": plan.experiment.name,
        "dataset": run.dataset,
        "image": image,
        "entry": entry.id,
        "method": entry.method,
        "title": entry.title,
        "family": entry.family,
        "column": implementation if entry.column == "ours" else entry.column,
        "implementation": implementation,
        "config": run.config,
        "config_hash": run.config_hash,
        "budget": run.budget.as_dict(),
        "budget_slug": run.budget.slug,
        "matched_to": run.budget.matched_to,
        "seed": run.seed,
    }


def _file_record(
    plan: Plan,
    run: Run,
    image: str,
    base: dict[str, Any],
    encoded: EncodeResult,
    file: EncodedFile,
    evaluation: FileEvaluation | None,
) -> Record:
    assert encoded.height is not None and encoded.width is not None
    height, width = encoded.height, encoded.width
    final = file.snapshot == "final"
    record = Record(
        **base,
        n_actual=file.n_actual,
        snapshot=file.snapshot,
        iterations=file.iterations,
        bytes=file.bytes,
        bpp=bits_per_pixel(8 * file.bytes, height, width),
        nominal_bpp=None if file.nominal_bits is None else bits_per_pixel(file.nominal_bits, height, width),
        file=str((plan.encoding(run, image).parent / file.file).relative_to(plan.root)),
        file_sha256=file.sha256,
        encode_seconds=file.seconds,
        encode_seconds_all=encoded.encode_seconds_all if final else [],
        stage_seconds=encoded.stage_seconds if final else {},
        to_bytes_seconds=file.to_bytes_seconds,
        curve=encoded.curve if final else [],
        energy_joules=encoded.energy_joules if final else None,
        energy_source=encoded.energy_source if final else None,
    )
    if evaluation is None or not evaluation.is_of(encoded, file):
        record.status, record.reason = "not_run", "not evaluated yet; run the experiment again"
        return record
    record.status, record.reason = evaluation.status, evaluation.reason
    if evaluation.n_actual is not None:
        record.n_actual = evaluation.n_actual
    names = plan.experiment.metrics
    record.metrics = {name: evaluation.metrics[name].value if name in evaluation.metrics else None for name in names}
    record.metrics_not_run = {name: why for name, why in evaluation.not_run.items() if name in names}
    record.decode_seconds = evaluation.decode_seconds
    record.evaluate_seconds = evaluation.evaluate_seconds
    return record
