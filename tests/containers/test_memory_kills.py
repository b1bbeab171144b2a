"""Reading what Linux counts, of files as each kind of machine has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from splatbench.containers import memory_kills as module
from splatbench.containers.memory_kills import memory_kills, own_memory_kills

_TWO = "31 23 0:28 {root} {mount} rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
_ONE = "35 31 0:32 {root} {mount} rw,relatime shared:9 - cgroup cgroup rw,memory\n"
_EVENTS = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 0\n"
_CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a machine of some files; its vmstat says 90."""
    monkeypatch.setattr(module, "PROC", tmp_path / "proc")

    def make(cgroup: str, mountinfo: str, root: str = "/", counters: dict[str, str] | None = None) -> None:
        (tmp_path / "proc" / "self").mkdir(parents=True)
        (tmp_path / "proc" / "self" / "cgroup").write_text(cgroup)
        (tmp_path / "proc" / "self" / "mountinfo").write_text(mountinfo.format(root=root, mount=tmp_path / "mount"))
        (tmp_path / "proc" / "vmstat").write_text("nr_free_pages 5\noom_kill 90\n")
        for name, text in (counters or {}).items():
            (tmp_path / "mount" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "mount" / name).write_text(text)

    return make


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "root", "file", "text"),
    [
        ("0::/user.slice/a.scope\n", _TWO, "/", "user.slice/a.scope/memory.events", _EVENTS),
        ("0::/\n", _TWO, "/", "memory.events", _EVENTS),  # in a container
        ("5:cpu,cpuacct:/\n4:memory:/job/x\n0::/\n", _ONE + _TWO, "/", "job/x/memory.oom_control", _CONTROL),
        ("4:memory:/docker/ab\n0::/\n", _ONE, "/docker/ab", "memory.oom_control", _CONTROL),
        ("4:memory:/docker/ab/in\n", _ONE, "/docker/ab", "in/memory.oom_control", _CONTROL),
        ("4:memory:/elsewhere\n", _ONE, "/docker/ab", "memory.oom_control", _CONTROL),
    ],
)
def test_of_the_own_control_group(machine, cgroup, mountinfo, root, file, text):
    machine(cgroup, mountinfo, root, {file: text})
    assert (own_memory_kills(), memory_kills()) == (3, 3)


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "counters"),
    [
        ("0::/\n", _TWO, {}),  # the root of all groups has no memory.events
        ("4:memory:/\n", _ONE, {"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n"}),  # before Linux 4.13
        ("4:memory:/\n0::/\n", _TWO, {"memory.events": _EVENTS}),  # of another hierarchy
        ("0::/a\n", _TWO, {"memory.events": _EVENTS}),  # of the group above
        ("nonsense\n", "nonsense\n", {}),
        ("0::/\n", _TWO, {"memory.events": "oom_kill many\n"}),
    ],
)
def test_else_of_the_whole_machine(machine, cgroup, mountinfo, counters):
    machine(cgroup, mountinfo, counters=counters)
    assert (own_memory_kills(), memory_kills()) == (None, 90)


def test_where_nothing_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PROC", tmp_path / "none")
    assert (own_memory_kills(), memory_kills()) == (None, 0)
