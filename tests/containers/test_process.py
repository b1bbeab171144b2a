"""The engine without isolation, for real: limits, endings, and that nothing of a task is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from splatbench.containers import kept
from splatbench.containers.answer import NoAnswer, check_end
from splatbench.containers.engines import get_engine
from splatbench.containers.task import ContainerTask, ImageMissing, Limits, Mount

ENGINE = get_engine("process")


def run(*command: str, **options):
    return ENGINE.run(ContainerTask("", command, **options))


def python(code: str, **options):
    return run("python", "-c", code, **options)


def sleepers(mark: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if mark in (process.info["cmdline"] or [])]


def gone(mark: str, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while sleepers(mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def mark(request) -> str:
    """An argument of `sleep` that no other process has."""
    return f"{3600 + os.getpid() / 1e7 + abs(hash(request.node.name)) % 1000 / 1e3:.7f}"


def test_exit_code_and_log_of_both_streams():
    ended = python("import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)")
    assert (ended.ending, ended.exit_code, ended.log) == ("exited", 3, "out\nerr")


def test_a_signal_is_an_exit_code():
    assert run("sh", "-c", "kill -9 $$").exit_code == 128 + signal.SIGKILL


def test_the_system_ran_out_of_memory(monkeypatch, tmp_path):
    """Linux counts such kills; the counter is played, the kill is real."""
    kills = iter([3, 4, 4, 4])
    monkeypatch.setattr(kept, "memory_kills", lambda: next(kills))
    ended = run("sh", "-c", "echo last words; kill -9 $$")
    assert (ended.ending, ended.exit_code) == ("system memory", None)
    with pytest.raises(NoAnswer, match="^the system ended it because memory ran out: last words$") as caught:
        check_end(ended, tmp_path, Limits())
    assert caught.value.status == "out_of_memory"
    assert run("sh", "-c", "kill -9 $$").exit_code == 137, "somebody else did it"


def test_the_environment_is_scrubbed(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    ended = run("env", environment={"MINE": "a=b c"}, limits=Limits(threads=1))
    told = dict(line.split("=", 1) for line in ended.log.splitlines())
    assert not {"SECRET_TOKEN", "PYTHONPATH"} & set(told)
    assert told["MINE"] == "a=b c" and told["OMP_NUM_THREADS"] == "1" and told["CUDA_VISIBLE_DEVICES"] == ""
    assert told["HOME"] == told["TMPDIR"] and not Path(told["HOME"]).exists(), "its home goes with it"


def test_a_leased_gpu_is_named():
    assert run("sh", "-c", "echo $CUDA_VISIBLE_DEVICES", gpu="GPU-1").log == "GPU-1"


def test_folders_of_the_contract_are_told(tmp_path):
    mounts = (Mount(tmp_path / "a", "/splatbench/in"), Mount(tmp_path / "b", "/splatbench/out", read_only=False))
    for mount in mounts:
        mount.source.mkdir()
    ended = run("sh", "-c", "touch $SPLATBENCH_OUT/x; echo $SPLATBENCH_IN", mounts=mounts)
    assert (tmp_path / "b" / "x").is_file() and ended.log == str(tmp_path / "a")


def test_what_cannot_be_mounted_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot show .* as /data"):
        run("true", mounts=(Mount(tmp_path, "/data"),))


def test_no_such_program():
    with pytest.raises(ImageMissing, match="no program 'nosuchprogram'"):
        run("nosuchprogram")
    with pytest.raises(ImageMissing, match="no images"):
        ENGINE.digest("debian")


def test_a_file_that_is_no_program(tmp_path):
    (tmp_path / "broken").write_text("\x7fnonsense")
    (tmp_path / "broken").chmod(0o755)
    ended = run(str(tmp_path / "broken"))
    assert ended.exit_code == 127 and "cannot be started" in ended.log


def test_time_limit(mark):
    ended = run("sleep", mark, limits=Limits(seconds=0.3))
    assert (ended.ending, ended.exit_code) == ("timeout", None) and 0.3 <= ended.seconds < 10
    assert gone(mark)


def test_memory_limit_and_peak():
    ended = python("import time; x = bytearray(300 << 20); time.sleep(60)", limits=Limits(memory_mib=150))
    assert (ended.ending, ended.exit_code) == ("memory", None) and ended.peak_memory_mib > 150
    ended = python("import time; x = bytearray(80 << 20); time.sleep(0.5)", limits=Limits(memory_mib=150))
    assert ended.ending == "exited" and 80 < ended.peak_memory_mib < 150


def test_memory_that_is_shared_counts_once():
    """Eight processes that share 60 MiB stay below 200."""
    code = "import os, time\nx = bytearray(60 << 20)\nfor _ in range(3): os.fork()\ntime.sleep(0.6)"
    assert python(code, limits=Limits(memory_mib=200)).ending == "exited"


def test_memory_of_children_counts():
    child = "import time; x = bytearray(100 << 20); time.sleep(60)"
    code = (
        f"import subprocess, sys\np = [subprocess.Popen([sys.executable, '-c', {child!r}]) for _ in '123']\np[0].wait()"
    )
    assert python(code, limits=Limits(memory_mib=200)).ending == "memory"


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_number_of_processes(kind):
    code = {
        "processes": "import os, time\nfor _ in range(6): os.fork()\ntime.sleep(60)",
        "threads": "import threading as t, time\nfor _ in range(50): t.Thread(target=time.sleep, args=(60,)).start()",
    }[kind]
    assert python(code, limits=Limits(pids=20)).ending == "pids"


def test_output_limit_of_many_files(tmp_path):
    code = "import os\nfor i in range(10**6): open(f\"{os.environ['SPLATBENCH_OUT']}/{i}\", 'wb').write(bytes(100_000))"
    ended = python(code, mounts=(Mount(tmp_path, "/splatbench/out", read_only=False),), limits=Limits(output_mib=20))
    assert ended.ending == "output"


def test_output_limit_of_one_file(tmp_path):
    """The kernel stops the write; that the program then ends by itself does not hide why."""
    code = "import os\nwith open(os.environ['SPLATBENCH_OUT'] + '/x', 'wb') as f:\n while True: f.write(bytes(1 << 20))"
    ended = python(code, mounts=(Mount(tmp_path, "/splatbench/out", read_only=False),), limits=Limits(output_mib=5))
    assert ended.ending == "output"
    assert (tmp_path / "x").stat().st_size <= (5 << 20) + 1


def test_output_in_its_own_folder_counts():
    assert run("sh", "-c", "head -c 9000000 /dev/zero > here", limits=Limits(output_mib=5)).ending == "output"


def test_what_is_just_enough_is_enough(tmp_path):
    task = {"mounts": (Mount(tmp_path, "/splatbench/out", read_only=False),), "limits": Limits(output_mib=5)}
    assert run("sh", "-c", "head -c 5242880 /dev/zero > $SPLATBENCH_OUT/x", **task).ending == "exited"


def test_a_flood_of_output_keeps_its_end():
    ended = python("print('x' * 30_000_000); print('\\x1b[31mthe \\x07end\\x1b[0m')")
    assert ended.ending == "exited" and len(ended.log) <= 8000 and ended.log.endswith("xxx\nthe end")


def test_watch_ends_it(mark):
    calls = []
    ended = run("sleep", mark, watch=lambda: calls.append(time.monotonic()) or len(calls) == 20)
    assert ended.ending == "stopped" and len(calls) == 20 and calls[-1] - calls[0] < 5
    assert gone(mark)


def test_watch_sees_what_came_last(tmp_path):
    """A mark made in the last moment is not missed."""
    seen = []
    mounts = (Mount(tmp_path, "/splatbench/out", read_only=False),)
    run("sh", "-c", "touch $SPLATBENCH_OUT/m", mounts=mounts, watch=lambda: seen.append((tmp_path / "m").exists()))
    assert seen[-1] is True


def test_daemons_do_not_survive(mark):
    """A double fork in a session of its own, whose parent is long gone."""
    code = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execlp("sleep", "sleep", "{mark}")
    os._exit(0)
os.wait()
time.sleep(0.2)
print("done")
"""
    ended = python(code)
    assert ended.log == "done" and ended.seconds < 30
    assert gone(mark)


def test_an_error_in_the_harness_ends_it(mark):
    def watch() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("sleep", mark, watch=watch)
    assert gone(mark)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_harness_leaves_nothing(mark, number):
    code = f"""
from splatbench.containers.engines import get_engine
from splatbench.containers.task import ContainerTask
get_engine("process").run(ContainerTask("", ("sh", "-c", "setsid sleep {mark} & sleep {mark}")))
"""
    harness = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 30
    while len(sleepers(mark)) < 2:
        assert time.monotonic() < deadline and harness.poll() is None
        time.sleep(0.02)
    harness.send_signal(number)
    harness.wait()
    assert gone(mark)


def test_two_at_once_do_not_meet(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as pool:
        slow = pool.submit(run, "sh", "-c", "sleep 0.6; echo slow")
        fast = pool.submit(run, "sh", "-c", "echo fast")
        assert fast.result().log == "fast"
        assert slow.result().log == "slow"
