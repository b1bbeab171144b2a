"""Image files for the tests of apptainer: empty folders that mounts of this machine's own Python fill."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

#: Debian 12 has no package of it, so CI does not promise it.
_PROMISED = os.environ.get("SPLATBENCH_REQUIRE_APPTAINER") == "1"
_FOLDERS = ("usr", "sbin", "etc", "proc", "sys", "dev", "tmp", "var/tmp", "root", "home", ".singularity.d/env")


def require_apptainer() -> None:
    """Skips where there is none, or fails where SPLATBENCH_REQUIRE_APPTAINER=1 promises it."""
    if shutil.which("apptainer"):
        return
    if _PROMISED:
        pytest.fail("needs apptainer (and SPLATBENCH_REQUIRE_APPTAINER=1 says that it is here)")
    pytest.skip("needs apptainer, which Debian 12 does not have")


def build_image(folder: Path, programs: Mapping[str, str]) -> Path:
    """A .sif file in `folder` of empty folders and these programs; `docker_host.system_mounts` fill it.

    Args:
        programs: path inside -> script.
    """
    root = folder / "root"
    for name in _FOLDERS:
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    for name in ("hosts", "resolv.conf", "passwd", "group"):
        (root / "etc" / name).touch()
    for name, script in programs.items():
        program = root / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(script)
        program.chmod(0o755)
    built = subprocess.run(["apptainer", "build", folder / "base.sif", root], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder / "base.sif"
