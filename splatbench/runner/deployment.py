"""Where the jobs of a workflow run: in this environment, in docker containers, or in Snakemake's apptainer."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from splatbench.containers.apptainer import ApptainerEngine
from splatbench.containers.identity import DIGEST_VARIABLE, NAME_VARIABLE
from splatbench.containers.suite_run import CACHE_VARIABLE, COMMAND, named_folders
from splatbench.datasets.facts import cache_folder
from splatbench.experiment import ExperimentError

#: Keys of `snakemake --config` that are read here.
OPTIONS = {
    "engine": "docker: each job runs in a container of `image` (apptainer: Snakemake's own option, --sdm apptainer)",
    "image": "image that jobs run in: splatbench-cpu, splatbench-gpu or a reference; with --sdm apptainer a .sif file",
}
#: Snakemake writes the path into a shell command as it is.
_PLAIN_PATH = re.compile(r"[\w./+@-]+")


@dataclass(frozen=True)
class Deployment:
    """How a job's command becomes a shell command.

    Attributes:
        image: reference; for apptainer the absolute path of a .sif file; empty without an engine.
    """

    engine: Literal["none", "docker", "apptainer"] = "none"
    image: str = ""

    @staticmethod
    def chosen(options: Mapping[str, Any], apptainer: bool) -> Deployment:
        """What the command line of Snakemake asks for.

        Args:
            options: of `--config`.
            apptainer: whether there was `--sdm apptainer`.

        Raises:
            ExperimentError: options that do not go together, or an image that cannot be used.
        """
        engine, image = str(options.get("engine") or "none"), str(options.get("image") or "")
        if engine not in ("none", "docker"):
            hint = ": give --sdm apptainer --config image=FILE.sif" if engine == "apptainer" else "; there is docker"
            raise ExperimentError(f"--config engine={engine} is unknown{hint}")
        if apptainer:
            if engine == "docker":
                raise ExperimentError("--sdm apptainer and --config engine=docker: choose one of them")
            if not image:
                raise ExperimentError(
                    "--sdm apptainer needs --config image=FILE.sif: jobs would run outside of any image"
                )
            return Deployment("apptainer", _image_file(image))
        if engine == "docker":
            if not image:
                raise ExperimentError("--config engine=docker needs the image, too: image=splatbench-cpu")
            return Deployment("docker", image)
        if image:
            raise ExperimentError(f"--config image={image} needs an engine: engine=docker, or --sdm apptainer")
        return Deployment()

    @property
    def container(self) -> str | None:
        """Of Snakemake's `container:` directive."""
        return self.image if self.engine == "apptainer" else None

    def command(self, needed: Sequence[Path], network: bool = False, gpu: bool = False) -> str:
        """`splatbench` as the words that begin a rule's shell command.

        Args:
            needed: files and folders that jobs read; what is not below the working folder is brought along.
            network: the job downloads. With apptainer all jobs have a network.
            gpu: the rule has the resource `gpu`, 0 or 1.
        """
        if self.engine == "apptainer":
            # Nothing inside can tell what an image's file holds.
            told = {NAME_VARIABLE: Path(self.image).name, DIGEST_VARIABLE: ApptainerEngine().digest(self.image)}
            return " ".join([*(f"{name}={value}" for name, value in told.items()), COMMAND])
        here = f"{literal(sys.executable)} -m splatbench"
        if self.engine == "none":
            return here
        words = [here, "containers", "run", "--image", literal(self.image)]
        words += ["--network", "default"] if network else []
        words += ["--gpus", "{resources.gpu}"] if gpu else []
        for path in needed:
            words += ["--mount", literal(str(path))] if not path.is_relative_to(Path.cwd()) else []
        return " ".join([*words, "--"])

    def prepare(self, needed: Sequence[Path]) -> None:
        """Lets apptainer see what jobs need, by its own variables: Snakemake mounts the working folder alone."""
        if self.engine != "apptainer":
            return
        cache = cache_folder().absolute()
        cache.mkdir(parents=True, exist_ok=True)
        read = {str(path.expanduser().absolute()) for path in (*named_folders(os.environ), *needed)}
        binds = [f"{cache}:{cache}", *(f"{path}:{path}:ro" for path in sorted(read) if Path(path).exists())]
        if odd := next((bind for bind in binds if "," in bind), None):
            raise ExperimentError(f"apptainer cannot mount a path with a comma: {odd}")
        os.environ[CACHE_VARIABLE] = str(cache)
        given = os.environ.get("APPTAINER_BIND", "")
        os.environ["APPTAINER_BIND"] = ",".join([*filter(None, [given]), *(b for b in binds if b not in given)])
        # Apptainer gives root all capabilities, and stops where root itself lacks some: in a container of a CI machine.
        os.environ["APPTAINER_NO_PRIVS"] = "1"
        # The rest of the environment goes in, but these are packages of the Python outside.
        os.environ["APPTAINERENV_PYTHONPATH"] = ""


def literal(text: str) -> str:
    """Text as one word of a rule's shell command, braces included."""
    return shlex.quote(text).replace("{", "{{").replace("}", "}}")


def _image_file(image: str) -> str:
    path = Path(image).expanduser().absolute()
    if path.suffix != ".sif" or not path.is_file():
        raise ExperimentError(
            f"--config image={image}: with --sdm apptainer a file that ends in .sif is needed "
            "(`splatbench containers build cpu --engine apptainer` writes splatbench-cpu.sif)"
        )
    if not _PLAIN_PATH.fullmatch(str(path)):
        raise ExperimentError(f"--config image={image}: Snakemake can use no path with spaces or quotes ({path})")
    return str(path)
