"""Runs images with apptainer: files that end in .sif.

It needs no daemon and no rights, so it is what clusters have. The machine's files are hidden but for the mounts, the
image is read-only, there is no network. Its control groups need root or delegation, so memory, processes and output are
watched from here, as they are for programs without a container: for a tenth of a second a limit can be exceeded.
"""

from __future__ import annotations

import csv
import functools
import io
import os
import shutil
import subprocess
from pathlib import Path

from splatbench.containers.engines import give_folders, inside_environment, kept_environment, task_user
from splatbench.containers.kept import run_kept
from splatbench.containers.references import digest_in
from splatbench.containers.task import ContainerTask, Ended, EngineMissing, EngineName, GpuMissing, ImageMissing, Mount
from splatbench.files import sha256_file

#: Of the machine's environment, what apptainer itself needs.
_KEPT = ("PATH", "LANG")
#: What apptainer prints and how it exits where it could not start the program.
_FATAL, _FATAL_CODE = "FATAL:", 255


class ApptainerEngine:
    """The program `apptainer` on the PATH. A task sees all devices of the machine where it is given one: it is told
    which is its own, but nothing holds it to that."""

    name: EngineName = "apptainer"

    def check(self) -> str:
        try:
            said = subprocess.run([find_program(), "--version"], capture_output=True, text=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise EngineMissing(f"apptainer is here but does not run: {error}") from error
        return said.stdout.strip()

    def digest(self, image: str) -> str:
        return digest_in(image) or _digest_of(find_file(image))

    def run(self, task: ContainerTask) -> Ended:
        program, image = find_program(), find_file(task.image)
        wanted = digest_in(task.image)
        if wanted and (here := _digest_of(image)) != wanted:
            raise ImageMissing(f"the image {image} is {here}, not {wanted}: get the file that the digest was taken of")
        if task.gpu is not None and not Path("/dev/nvidiactl").exists():
            raise GpuMissing("apptainer cannot give a task the GPU: this machine has no NVIDIA driver (/dev/nvidiactl)")
        give_folders(task, task_user())
        ended = run_kept(task, lambda folder: _command(program, image, task, folder), _environment(task))
        if ended.ending == "exited" and ended.exit_code == _FATAL_CODE:
            _explain(ended.log)
        return ended


def find_program() -> str:
    """Path of the program.

    Raises:
        EngineMissing
    """
    program = shutil.which("apptainer")
    if program is None:
        raise EngineMissing("there is no program `apptainer` here: load its module, or install the package `apptainer`")
    return program


def find_file(reference: str) -> Path:
    """The file of an image; a digest behind its name is left to the caller.

    Raises:
        ImageMissing: no such file, or not of this kind.
    """
    digest = digest_in(reference)
    path = Path(reference.removesuffix(f"@{digest}") if digest else reference).expanduser()
    if path.suffix != ".sif":
        raise ImageMissing(
            f"apptainer runs files that end in .sif here, not {reference}: `apptainer build image.sif "
            f"docker-daemon:NAME:TAG` (or docker-archive:FILE) makes one"
        )
    if not path.is_file():
        raise ImageMissing(f"there is no image file {path}")
    return path.resolve()


def _digest_of(image: Path) -> str:
    stat = image.stat()
    return _digest_once(image, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest_once(image: Path, size: int, changed_ns: int) -> str:
    """Once per state of the file: images have gigabytes."""
    return f"sha256:{sha256_file(image)}"


def _command(program: str, image: Path, task: ContainerTask, folder: Path) -> list[str]:
    """`apptainer run`, so that the image's entry point holds; `folder` becomes its /tmp and its home.

    Also its /dev/shm: files in memory that no process has mapped would be seen by no limit.
    """
    for name in ("home", "tmp", "var_tmp", "shm"):
        (folder / name).mkdir()
        (folder / name).chmod(0o1777)
    command = [program, "--silent", "run", "--containall", "--cleanenv", "--no-eval", "--no-privs"]
    command += ["--net", "--network", "none", "--workdir", str(folder), "--home", f"{folder}/home:/tmp/home"]
    user = task_user()
    if user != (os.getuid(), os.getgid()):
        command += ["--security", f"uid:{user[0]}", "--security", f"gid:{user[1]}"]
    if task.gpu is not None:
        command.append("--nv")
    for mount in (*task.mounts, Mount(folder / "shm", "/dev/shm", read_only=False)):
        command += ["--mount", mount_option(mount)]
    return [*command, str(image), *task.command]


def mount_option(mount: Mount) -> str:
    """As apptainer reads it: a line of comma-separated values, so that any path can be said."""
    fields = ["type=bind", f"source={mount.source.resolve()}", f"destination={mount.target}"]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([*fields, "ro"] if mount.read_only else fields)
    return line.getvalue()


def _environment(task: ContainerTask) -> dict[str, str]:
    # The home folder is set by an option: apptainer refuses it here.
    inside = {name: value for name, value in inside_environment(task).items() if name != "HOME"}
    return kept_environment(_KEPT) | {f"APPTAINERENV_{name}": value for name, value in inside.items()}


def _explain(log: str) -> None:
    """Raises what apptainer itself stopped at, if it did.

    Raises:
        EngineMissing, ImageMissing
    """
    last = log.rpartition("\n")[2]
    if not last.startswith(_FATAL):
        return
    reason = last.removeprefix(_FATAL).strip()
    if "could not open image" in reason:
        raise ImageMissing(f"apptainer cannot read the image: {reason}")
    raise EngineMissing(f"apptainer cannot start the container: {reason}")
