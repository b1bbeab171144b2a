#!/usr/bin/env python3
"""Runs a method of yours by splatbench's file contract, version 1. Copy this one file into your image.

It needs Python 3.8 and numpy, nothing else.

    python splatbench_runner.py my_method.py           functions of a file
    python splatbench_runner.py package.module:thing   functions of an object; a class is called without arguments first
    --warm-up                                          encodes 64x48 pixels of noise before, not timed

The functions (all but `encode` may be missing):

    prepare(settings, device)
        Loads weights, compiles: not timed. device is "cpu" or "cuda".
    encode(image, budget, seed, settings) -> answer, or (answer, report)
        image: uint8 array [H, W, 3]. budget: dict with the keys gaussians, bpp, native, iterations, seconds; None where
        there is no such limit. answer: a dict of arrays (means, colors, scales, angles ...) with a dict "facts" that
        states their conventions; or bytes: a .s2d file, or with `decoder: container` a payload.
        report: dict with any of notes (list of str), nominal_bits, iterations, seconds.
    prepare_decoder()
        As `prepare`, where a payload has to be decoded.
    decode(payload) -> uint8 array [H, W, 3], or a dict of arrays as above
        payload: the bytes that `encode` gave; nothing else is there.

What goes wrong becomes error.json: MemoryError and a GPU's "out of memory" are out_of_memory; arrays with NaN or
infinity and FloatingPointError are diverged; all else is failed. Tracebacks go to stderr.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path

IN = Path(os.environ.get("SPLATBENCH_IN", "/splatbench/in"))
OUT = Path(os.environ.get("SPLATBENCH_OUT", "/splatbench/out"))
CONTRACT = "1"
ANSWER = "a dict of arrays with a dict 'facts', or bytes"


class Problem(Exception):
    """Something that the author of the method can mend; the text is the reason of the row."""

    status = "failed"


class NotFinite(Problem):
    status = "diverged"


def main(arguments=None):
    """Runs one job. Returns the exit code: 0 for an answer, 1 for an error.json."""
    parser = argparse.ArgumentParser(description="Runs a method by splatbench's file contract.")
    parser.add_argument("target", help="FILE.py or MODULE, with :OBJECT if it is not the module itself")
    parser.add_argument("--warm-up", action="store_true", help="encode 64x48 pixels of noise first, not timed")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except BaseException as error:  # also what a library raises to end the process
        traceback.print_exc()
        write("error.json", json.dumps({"status": status_of(error), "reason": reason_of(error)}).encode())
        return 1
    return 0


def run(options):
    job = json.loads((IN / "job.json").read_text(encoding="utf-8"))
    if job.get("contract") != CONTRACT:
        raise Problem(f"this runner keeps contract {CONTRACT}, the job is of contract {job.get('contract')}")
    # Read by numerical libraries when they are first imported, so before the method is.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(job["threads"]))
    method = load(options.target)
    if job["verb"] == "encode":
        encode(method, job, options.warm_up)
    elif job["verb"] == "decode":
        decode(method)
    else:
        raise Problem(f"unknown verb {job['verb']!r}")


def load(target):
    """The object that holds the functions."""
    path, _, name = target.rpartition(":") if ":" in target else (target, "", "")
    if path.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(path).stem, path)
        sys.path.insert(0, str(Path(path).resolve().parent))
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, str(Path.cwd()))
        module = importlib.import_module(path)
    found = module
    for part in name.split(".") if name else ():
        if not hasattr(found, part):
            raise Problem(f"{path} has no {name}")
        found = getattr(found, part)
    return found() if isinstance(found, type) else found


def function(method, name):
    found = getattr(method, name, None)
    if not callable(found):
        raise Problem(f"the method has no function {name}")
    return found


def encode(method, job, warm_up):
    import numpy as np

    image = np.load(IN / "image.npy", allow_pickle=False)
    budget, seed, settings = job["budget"], job["seed"], job["settings"]
    work = function(method, "encode")
    if hasattr(method, "prepare"):
        method.prepare(settings, job["device"])
    if warm_up:
        noise = np.random.RandomState(0).randint(0, 256, (48, 64, 3)).astype(np.uint8)
        small = dict(budget, iterations=2, gaussians=64 if budget["gaussians"] else None)
        work(noise, small, seed, settings)
    mark("started")
    answer = work(image, budget, seed, settings)
    mark("finished")
    report = None
    if isinstance(answer, tuple):
        if len(answer) != 2 or not isinstance(answer[1], dict):
            raise Problem(f"encode returned a tuple of {len(answer)}; it must be (answer, report), report a dict")
        answer, report = answer
    if report is not None:
        write("report.json", as_json(report, "report"))
    if isinstance(answer, (bytes, bytearray)):
        write("payload.bin" if job["decoder"] == "container" else "encoding.s2d", bytes(answer))
    elif isinstance(answer, dict):
        write_gaussians(answer, [job["height"], job["width"]])
    else:
        raise Problem(f"encode returned {type(answer).__name__}; it must return {ANSWER}")


def decode(method):
    import numpy as np

    payload = (IN / "payload.bin").read_bytes()
    work = function(method, "decode")
    if hasattr(method, "prepare_decoder"):
        method.prepare_decoder()
    mark("started")
    answer = work(payload)
    mark("finished")
    if isinstance(answer, dict):
        write_gaussians(answer, None)
        return
    picture = as_array(answer, "decode's picture")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise Problem(f"decode returned {picture.dtype} {list(picture.shape)}; it must return uint8 [H, W, 3]")
    write_with("picture.npy", lambda file: np.save(file, np.ascontiguousarray(picture), allow_pickle=False))


def write_gaussians(answer, size):
    """Writes gaussians.npz of a dict of arrays; size is [H, W], None where the facts state it."""
    import numpy as np

    facts = answer.get("facts")
    if not isinstance(facts, dict):
        raise Problem("the answer has no dict 'facts' that states the conventions of its numbers")
    facts = dict({"version": 1}, **facts)
    if size is not None:
        facts.setdefault("size", size)
    arrays = {name: as_array(value, name) for name, value in answer.items() if name != "facts"}
    if not arrays:
        raise Problem("the answer holds no arrays")
    for name, values in arrays.items():
        if values.dtype.kind not in "fiu":
            raise Problem(f"{name} holds {values.dtype}; numbers are expected")
        if not np.isfinite(values).all():
            raise NotFinite(f"{name} holds {(~np.isfinite(values)).sum()} values that are NaN or infinite")
    text = as_json(facts, "facts").decode()
    write_with("gaussians.npz", lambda file: np.savez(file, facts=np.array(text), **arrays))


def as_array(value, name):
    """Also of a tensor on a device."""
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise Problem(f"{name} is no array: {error}") from error


def as_json(value, name):
    try:
        return json.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise Problem(f"{name} must hold plain numbers, texts and lists: {error}") from error


def mark(name):
    """The harness reads its clock when this file appears."""
    (OUT / name).touch()


def write(name, data):
    write_with(name, lambda file: file.write(data))


def write_with(name, writer):
    """A file that appears whole or not at all."""
    part = OUT / (name + ".part")
    with open(part, "wb") as file:
        writer(file)
    part.replace(OUT / name)


def status_of(error):
    if isinstance(error, Problem):
        return error.status
    text = f"{type(error).__name__} {error}"
    if isinstance(error, MemoryError) or "OutOfMemory" in text or "out of memory" in text.lower():
        return "out_of_memory"
    return "diverged" if isinstance(error, FloatingPointError) else "failed"


def reason_of(error):
    lines = str(error).strip().splitlines()
    if isinstance(error, Problem):
        return lines[0]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
