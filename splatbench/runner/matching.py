"""What a run takes from the run that it is matched to: the count, and for a warm start the Gaussians."""

from __future__ import annotations

import dataclasses

from splatbench.budget import Budget
from splatbench.gaussians import Gaussians2D
from splatbench.method import MethodError, get_method
from splatbench.record import WarmStart
from splatbench.runner.encoding import Start
from splatbench.runner.plan import Plan, Run
from splatbench.runner.results import EncodedFile, EncodeResult, read_result


class NotRun(RuntimeError):
    """A row cannot be made now; the text says why and what to do."""


def matched_budget(plan: Plan, run: Run, image: str) -> Budget:
    """The run's budget with the count that `matched_to` stands for.

    Raises:
        NotRun: the entry that it is matched to has no count for this image.
    """
    if run.budget.matched_to is None:
        return run.budget
    target = plan.matched_run(run)
    result = read_result(EncodeResult, plan.encoding(target, image))
    if result is None or result.final is None or result.final.n_actual is None:
        why = (result.reason or "its file holds no Gaussians") if result is not None else "it is not encoded yet"
        raise NotRun(f"matched to {target.entry.id}, which gave no count for this image: {why}")
    return dataclasses.replace(run.budget, matched_to=None, warm=False, gaussians=result.final.n_actual)


def warm_start(plan: Plan, run: Run, image: str) -> tuple[WarmStart, Start]:
    """What a warm run begins from, for the record and for the method: the final file of the run it is matched to, as
    its method decodes it.

    Raises:
        NotRun: there is no such file, or it is not what was written.
        MethodError: it does not hold one set of Gaussians.
    """
    target = plan.matched_run(run)
    path = plan.encoding(target, image)
    result = read_result(EncodeResult, path)
    if result is None or result.final is None or not result.files_are_whole(path.parent):
        raise NotRun(f"begins from {target.entry.id}, whose file of this image is damaged; run the experiment again")
    final = result.final
    decoded = get_method(target.entry.method).from_bytes((path.parent / final.file).read_bytes())
    if not isinstance(decoded, Gaussians2D):
        raise MethodError(f"begins from {target.entry.id}, whose picture is not drawn from one set of Gaussians")
    if (seconds := final.seconds) is None:
        raise NotRun(f"begins from {target.entry.id}, whose encode time nobody here has measured; it would be missing")
    return WarmStart(entry=target.entry.id, file_sha256=final.sha256, seconds=seconds), Start(decoded, seconds)


def still_matches(plan: Plan, run: Run, image: str, result: EncodeResult) -> bool:
    """Whether a result is of the count, and with a warm start of the file, that the run it is matched to has now; True
    for a run that is matched to none."""
    if run.budget.matched_to is None:
        return True
    final = _final(plan, plan.matched_run(run), image)
    if final is None or result.n_target != final.n_actual:
        return False
    if not run.budget.warm:
        return True
    start = result.start
    return start is not None and (start.file_sha256, start.seconds) == (final.sha256, final.seconds)


def _final(plan: Plan, run: Run, image: str) -> EncodedFile | None:
    result = read_result(EncodeResult, plan.encoding(run, image))
    return result.final if result is not None else None
