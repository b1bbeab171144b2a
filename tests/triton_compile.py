"""Compiles Triton kernels without a GPU and tells what they need of one.

A process of its own: where kernels are interpreted, those in memory cannot be compiled. Reads from standard input a
JSON list of kernels

    {"module": "splatbench...", "name": function, "arch": 80 | 90, "signature": {argument: "*fp32" | "i32" | ...},
     "constexprs": {argument: value}, "options": {"num_warps": 4, ...}}

(a list in a signature is a tuple of arguments) and writes, in the same order, a JSON list of

    {"registers": per thread, "spilled": bytes of a thread's local memory, "shared": bytes}.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tempfile
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


def resources(kernel: dict[str, Any]) -> dict[str, int]:
    function = getattr(importlib.import_module(kernel["module"]), kernel["name"])
    signature = {name: tuple(kind) if isinstance(kind, list) else kind for name, kind in kernel["signature"].items()}
    constants = {name: tuple(v) if isinstance(v, list) else v for name, v in kernel.get("constexprs", {}).items()}
    source = ASTSource(fn=function, signature=signature | dict.fromkeys(constants, "constexpr"), constexprs=constants)
    target = GPUTarget("cuda", kernel["arch"], 32)
    options = {"enable_fp_fusion": True} | kernel.get("options", {})
    compiled = triton.compile(source, target=target, options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL|SHARED):(\d+)", listing)}
    return {
        "registers": used["REG"],
        "spilled": used["STACK"] + used["LOCAL"],
        "shared": compiled.metadata.shared,
    }


if __name__ == "__main__":
    json.dump([resources(kernel) for kernel in json.load(sys.stdin)], sys.stdout)
