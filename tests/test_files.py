from __future__ import annotations

import hashlib
import os

import pytest

from splatbench.files import sha256_file, write_atomic


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.bin"
    write_atomic(path, b"first")
    assert path.read_bytes() == b"first"

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*file\.bin: No space left") as error:
        write_atomic(path, b"second")
    assert error.value.errno == 28
    assert path.read_bytes() == b"first"
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "results").write_text("not a folder")
    with pytest.raises(OSError, match="cannot write .*results"):
        write_atomic(tmp_path / "results" / "x", b"")


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_atomic(tmp_path / "file", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_hash(tmp_path):
    (tmp_path / "file").write_bytes(b"abc" * 10000)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(b"abc" * 10000).hexdigest()
