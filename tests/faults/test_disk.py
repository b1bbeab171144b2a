"""Full and read-only disks, cut short at any write: one sentence, nothing finished is lost, the rerun finishes."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from splatbench.files import write_atomic
from tests.faults.conftest import Project, Table


class _Disk:
    """Lets so many writes through, then refuses them. A write is what `write_atomic` flushes to disk."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = 10**9
        self.error = errno.ENOSPC
        self._flush = os.fsync
        patch.setattr(os, "fsync", self._write)

    def _write(self, handle: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(self.error, os.strerror(self.error))
        self._flush(handle)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> _Disk:
    return _Disk(monkeypatch)


def _begun(project: Project) -> None:
    """As after a run that has only begun."""
    for name in ("copy", "own", "jpeg"):
        for folder in project.root.glob(f"*/{name}-*"):
            shutil.rmtree(folder)


@pytest.mark.parametrize("writes", [0, 1, 5, 23, 60])
def test_a_disk_that_fills_up_at_any_write(project: Project, undisturbed: Table, disk: _Disk, writes: int) -> None:
    _begun(project)
    disk.left = writes
    rows = project.run()
    assert rows == {}, "the records could not be written either"
    for sentence in project.errors:
        assert "No space left on device (" in sentence and "MiB free); what is finished stays" in sentence
        assert "results/tiny" in sentence
    assert not list(project.root.rglob("*.part")), "nothing half-written stays"
    done = project.encodes()
    disk.left = 10**9
    assert project.run() == undisturbed and not project.errors
    # The one whose files did not fit is encoded twice in each of the two shards, nothing else.
    assert len(project.encodes()) <= len(done) + 2 * 5


@pytest.mark.parametrize("error", [errno.EROFS, errno.EIO, errno.EDQUOT, errno.EACCES])
def test_a_disk_that_refuses_to_be_written(project: Project, undisturbed: Table, disk: _Disk, error: int) -> None:
    _begun(project)
    disk.left, disk.error = 0, error
    encodes = project.encodes()
    assert project.run() == {} and project.encodes() == encodes, "found before any work"
    assert project.errors and all(os.strerror(error) in sentence for sentence in project.errors)
    disk.left = 10**9
    assert project.run() == undisturbed


def test_a_folder_without_the_right_to_write(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root nothing is forbidden: then the system call is made to say so."""
    if os.geteuid() == 0:

        def forbidden(*arguments: object, **more: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr("tempfile.mkstemp", forbidden)
    else:
        project.root.chmod(0o500)
    project.run()
    assert all("cannot write results/tiny" in sentence for sentence in project.errors[1:-1])
    assert all("Permission denied" in sentence for sentence in project.errors)


def test_the_content_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut leaves a name with nothing in it. The folder is flushed last: then the name is there, too."""
    calls: list[str] = []
    flush, rename = os.fsync, os.replace

    def fsync(handle: int) -> None:
        calls.append("folder" if os.fstat(handle).st_mode & 0o40000 else "file")
        flush(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("rename"), rename(*paths)))
    write_atomic(tmp_path / "a.json", b"{}")
    assert calls == ["file", "rename", "folder"]


def test_empty_files_after_a_power_cut_are_made_again(project: Project, undisturbed: Table) -> None:
    """All of them at once, as after a file system without a journal: results, files and markers."""
    for path in project.files():
        path.write_bytes(b"")
    assert project.run() == undisturbed and not project.errors
    assert "it is empty; encoded again" in project.said
