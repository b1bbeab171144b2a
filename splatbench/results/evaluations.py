"""Measured values of the same files from several folders, united; see `splatbench.results.folders`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from splatbench.results.findings import plain
from splatbench.runner.results import EncodeResult, EvaluateResult, FileEvaluation, read_result, write_result

_FOLDER = "evaluations"

#: Machines add in other orders; what differs more than this was measured by other code, or is damaged.
_TOLERANCE = 1e-4


class Evaluations:
    """Brings what was measured of chosen encodings into the output.

    Args:
        roots: the experiments' folders, the output's included if it has results.
        out: the output.
    """

    def __init__(self, roots: Sequence[Path], out: Path) -> None:
        self._roots, self._out = roots, out
        self._differing: list[str] = []

    def bring(self, place: Path, encoding: Path) -> bool:
        """Writes all that the folders have measured of an encoding's files; False if the output has it already.

        Values are valid for exactly one file and one original, so only those of these very files are taken.

        Args:
            place: of the JSON, below the folder of evaluations.
            encoding: the JSON of the encoding.
        """
        encoded = read_result(EncodeResult, encoding)
        if encoded is None or encoded.status != "ok":
            return False
        target = self._out / _FOLDER / place
        there = read_result(EvaluateResult, target)
        others = [read_result(EvaluateResult, root / _FOLDER / place) for root in self._roots]
        united = EvaluateResult(image=encoded.image)
        for file in encoded.files:
            known = [result.snapshots.get(file.snapshot) for result in (there, *others) if result is not None]
            valid = [each for each in known if each is not None and each.is_of(encoded, file)]
            if valid:
                first = there.snapshots.get(file.snapshot) if there is not None else None
                united.snapshots[file.snapshot] = self._united(
                    valid, first, f"{place.with_suffix('')}, {file.snapshot}"
                )
        if not united.snapshots or united == there:
            return False
        write_result(target, united)
        return True

    def _united(self, known: Sequence[FileEvaluation], first: FileEvaluation | None, name: str) -> FileEvaluation:
        """The most complete evaluation, successes first, the output's before others', with metrics of the rest."""
        ranked = sorted(known, key=lambda e: (e.status == "ok", e is first, len(e.metrics), e.model_dump_json()))
        best = ranked[-1].model_copy(deep=True)
        for other in reversed(ranked[:-1]):
            if other.status != "ok":
                continue
            for metric, value in other.metrics.items():
                mine = best.metrics.setdefault(metric, value)
                same = math.isclose(mine.value, value.value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
                if mine.version == value.version and not same:
                    self._differing.append(plain(f"{metric} of {name}: {mine.value:.6g} and {value.value:.6g}"))
        best.not_run = {metric: why for metric, why in best.not_run.items() if metric not in best.metrics}
        return best

    @property
    def warnings(self) -> list[str]:
        """Of values of one file and one metric on which the folders do not agree."""
        if not self._differing:
            return []
        return [
            f"{len(self._differing)} values of the same file and metric differ between the folders, e.g. "
            f"{self._differing[0]}: one was measured by other code, or is damaged"
        ]
