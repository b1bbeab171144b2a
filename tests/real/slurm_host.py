"""A Slurm of one node with fake GPUs, on this machine, for as long as it is needed.

The job steps that Snakemake starts read /etc/slurm alone, so the files must be there. What somebody else put there is
never touched: such a machine has a Slurm of its own, on which the profile is to be tried by hand.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

CONFIGURATION = Path("/etc/slurm")
MARK = "# Written by the tests of splatbench; removed when they end."
PARTITION = "ci"
TOOLS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "runuser")
#: Devices that can be opened by everybody and do nothing: stand for GPUs.
FAKE_GPUS = ("/dev/zero", "/dev/full", "/dev/null")

SLURM_CONF = """{mark}
ClusterName=splatbench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
KillWait=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus} State=UNKNOWN
PartitionName={partition} Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
CGROUP_CONF = """{mark}
CgroupPlugin=cgroup/v1
CgroupAutomount=no
"""


class SlurmMissing(RuntimeError):
    """Why no Slurm can be started here."""


@dataclass(frozen=True)
class Job:
    """One job that has ended, as Slurm shows it."""

    number: str
    state: str
    start: datetime
    end: datetime
    gpus: int

    def overlaps(self, other: Job) -> bool:
        return self.start < other.end and other.start < self.end


class SlurmHost:
    """A running Slurm. `host` names its one node."""

    def __init__(self, folder: Path, cpus: int, gpus: int) -> None:
        self.folder, self.cpus, self.gpus = folder, cpus, gpus
        self.host = socket.gethostname()

    def jobs(self) -> list[Job]:
        """Jobs that have ended, oldest first."""
        found = []
        for line in self.call("scontrol", "show", "jobs", "--oneliner").splitlines():
            values = dict(re.findall(r"(\w+)=(\S*)", line))
            if "JobId" not in values or values["JobState"] in ("PENDING", "RUNNING", "COMPLETING"):
                continue
            gpus = re.search(r"TresPerJob=\S*gpu:(\d+)", line)
            start, end = (datetime.fromisoformat(values[name]) for name in ("StartTime", "EndTime"))
            found.append(Job(values["JobId"], values["JobState"], start, end, int(gpus[1]) if gpus else 0))
        return sorted(found, key=lambda job: job.start)

    def running(self) -> list[str]:
        """Numbers of the jobs that run now."""
        return self.call("squeue", "--noheader", "--states=running", "--format=%A").split()

    def call(self, *command: str) -> str:
        """Output of one of Slurm's commands."""
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout

    def set_node(self, **values: str) -> None:
        """`scontrol update` of the node: State=..., Reason=..."""
        self.call("scontrol", "update", f"NodeName={self.host}", *(f"{key}={value}" for key, value in values.items()))

    def node_state(self) -> str:
        return self.call("sinfo", "--noheader", "--format=%T", "--nodes", self.host).strip()

    # -- its life ---------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Raises RuntimeError with the logs where it does not come up."""
        _end_leftovers()
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        self._write()
        self._start_munge()
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([daemon], check=True, timeout=30, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: self._answers() and self.node_state() == "idle", 30, "the node to be idle")
        except TimeoutError as error:
            logs = "".join((self.folder / f"{name}.log").read_text()[-3000:] for name in ("slurmctld", "slurmd"))
            raise RuntimeError(f"Slurm did not start: {error}\n{logs}") from None

    def stop(self) -> None:
        """Ends its jobs and daemons, and takes its files out of /etc/slurm."""
        with contextlib.suppress(subprocess.SubprocessError, OSError, TimeoutError):
            self.call("scancel", "--full", "--signal=KILL", f"--partition={PARTITION}")
            self.call("scancel", f"--partition={PARTITION}")
            wait_for(lambda: not self.call("squeue", "--noheader"), 20, "its jobs to end")
        _end_leftovers()

    def _answers(self) -> bool:
        return subprocess.run(["scontrol", "ping"], capture_output=True, timeout=30).returncode == 0

    def _write(self) -> None:
        values = {
            "mark": MARK,
            "partition": PARTITION,
            "folder": self.folder,
            "host": self.host,
            "cpus": self.cpus,
            "gpus": self.gpus,
            "memory": max(1000, psutil.virtual_memory().total // 2**20 * 9 // 10),
        }
        gres = [f"NodeName={self.host} Name=gpu File={device}" for device in FAKE_GPUS[: self.gpus]]
        (CONFIGURATION / "slurm.conf").write_text(SLURM_CONF.format(**values))
        (CONFIGURATION / "cgroup.conf").write_text(CGROUP_CONF.format(**values))
        (CONFIGURATION / "gres.conf").write_text("\n".join([MARK, *gres, ""]))

    def _start_munge(self) -> None:
        """One that runs already is used, and stays."""
        if subprocess.run(["munge", "--no-input"], capture_output=True, timeout=30).returncode == 0:
            return
        subprocess.run(["install", "-d", "-o", "munge", "-g", "munge", "/run/munge"], check=True)
        pid = self.folder / "munged.pid"
        command = [
            "runuser",
            "-u",
            "munge",
            "--",
            shutil.which("munged") or "munged",
            "--pid-file=/run/munge/splatbench.pid",
        ]
        subprocess.run(command, check=True, timeout=30, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.copyfile("/run/munge/splatbench.pid", pid)


@contextlib.contextmanager
def slurm_host(folder: Path, cpus: int = 2, gpus: int = 1) -> Iterator[SlurmHost]:
    """A Slurm that is taken down at the end.

    Args:
        folder: for its state and logs.
        cpus, gpus: that its node claims to have.

    Raises:
        SlurmMissing: it is not installed, or there is one already.
    """
    _check_machine()  # before anything: another Slurm's jobs are not ours to end
    host = SlurmHost(folder, cpus, gpus)
    try:
        host.start()
        yield host
    finally:
        host.stop()


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Raises TimeoutError when `condition` does not hold within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)


def _check_machine() -> None:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise SlurmMissing(f"{', '.join(missing)} not found; Debian: apt-get install slurm-wlm slurmctld slurmd munge")
    if os.geteuid() != 0:
        raise SlurmMissing("a Slurm of its own needs root")
    for name in ("slurm.conf", "cgroup.conf", "gres.conf"):
        file = CONFIGURATION / name
        if file.exists() and not file.read_text().startswith(MARK):
            raise SlurmMissing(f"{file} is not of these tests: this machine has a Slurm of its own")


def _end_leftovers() -> None:
    """Ends what is configured by files of ours, of this run or one that was killed, and removes them."""
    conf = CONFIGURATION / "slurm.conf"
    if not conf.exists() or not conf.read_text().startswith(MARK):
        return
    folder = Path(re.search(r"^StateSaveLocation=(.*)/state$", conf.read_text(), re.M)[1])
    for name in ("slurmctld", "slurmd", "munged"):
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int((folder / f"{name}.pid").read_text()))
            if process.name() == name:
                process.send_signal(signal.SIGTERM)
                process.wait(20)
    for name in ("slurm.conf", "cgroup.conf", "gres.conf"):
        (CONFIGURATION / name).unlink(missing_ok=True)
