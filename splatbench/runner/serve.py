"""The other side of the file contract for our own methods: a job in a folder, an encoding in another."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from splatbench.containers import contract
from splatbench.containers.contract import ContractError, EncodeJob, read_encode_job
from splatbench.files import write_atomic
from splatbench.method import Method, MethodError, get_method
from splatbench.runner.encode import classify
from splatbench.runner.encoding import check_budget, warm_up
from splatbench.trace import Trace


def serve(source: Path, target: Path) -> int:
    """Does one job; settings are {method: NAME, config: {...}}. Returns the exit code: what fails is in error.json.

    Args:
        source, target: the folders of the contract's input and output.

    Raises:
        OSError: nothing can be written to `target`.
    """
    try:
        _encode(read_encode_job(source), source, target)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        status, reason = classify(error)
        write_atomic(target / contract.ERROR, json.dumps({"status": status, "reason": reason}).encode())
        return 1
    return 0


def _encode(job: EncodeJob, source: Path, target: Path) -> None:
    image = _image(source / contract.IMAGE_NPY, job)
    budget = job.budget.budget()
    check_budget(budget, job.height, job.width)
    method = _method(job)
    method.prepare()
    warm_up(method, budget)
    trace = Trace(seconds=budget.seconds)
    (target / contract.STARTED).touch()
    trace.start()
    encoding = method.encode(image, budget, trace, job.seed)
    trace.stop()
    (target / contract.FINISHED).touch()
    report = {"notes": trace.notes, "seconds": trace.seconds, "nominal_bits": method.nominal_bits(encoding)}
    report |= {"iterations": trace.steps or None}
    write_atomic(target / contract.ENCODING, method.to_bytes(encoding))
    write_atomic(target / contract.REPORT, json.dumps(report).encode())


def _image(path: Path, job: EncodeJob) -> np.ndarray:
    """Raises ContractError unless it is what the job says."""
    try:
        image = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ContractError(f"cannot read {path}: {error}") from None
    if image.dtype != np.uint8 or image.shape != (job.height, job.width, 3):
        raise ContractError(f"{path} holds {image.dtype} {list(image.shape)}, the job says {job.height} x {job.width}")
    return np.ascontiguousarray(image)


def _method(job: EncodeJob) -> Method:
    """Raises MethodError for settings that name no method of ours, or one that this contract cannot carry."""
    settings: dict[str, Any] = dict(job.settings)
    name, config = settings.pop("method", None), settings.pop("config", {})
    if settings or not isinstance(name, str) or not isinstance(config, dict):
        raise MethodError(f"settings must be {{method: NAME, config: {{...}}}}, got {job.settings}")
    if job.decoder != "gaussians":
        raise MethodError("this project's methods answer with .s2d files: set `decoder: gaussians`")
    kind = get_method(name)
    if kind.outside:
        raise MethodError(f"the method {name!r} runs another program; give one of this project's own")
    method = kind(kind.make_config(config), job.device)
    if method.suffix != ".s2d":
        raise MethodError(f"the method {name!r} writes {method.suffix} files; the contract takes .s2d")
    return method
