"""Members out of zip files: only what is asked for, only where it is asked for, only if it is right."""

from __future__ import annotations

import io
import stat
import struct
import zipfile

import numpy as np
import pytest

from splatbench.datasets import download
from splatbench.datasets.download import DownloadError, RetryPolicy
from splatbench.datasets.unpack import ArchiveUnreachable, UnpackError, extract_member, extract_remote, find_member

DATA = np.random.default_rng(5).bytes(300_000)
QUICK = RetryPolicy(attempts=3, first_wait=0.01, longest_wait=0.02, timeout=5.0)


def zipped(members: dict[str, bytes], method=zipfile.ZIP_STORED) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return file.getvalue()


def opened(content: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(content))


def only_file_below(folder):
    return [str(p.relative_to(folder)) for p in sorted(folder.rglob("*")) if p.is_file()]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_one_member_is_written_and_nothing_else(tmp_path, method):
    archive = opened(zipped({"a/x.png": DATA, "a/y.png": b"other"}, method))
    seen = []
    extract_member(archive, "a/x.png", tmp_path / "out" / "x.png", len(DATA), progress=lambda *p: seen.append(p))
    assert (tmp_path / "out" / "x.png").read_bytes() == DATA
    assert only_file_below(tmp_path) == ["out/x.png"] and seen[-1] == (len(DATA), len(DATA))


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png", "..\\evil.png", "C:/evil.png"])
def test_names_that_lead_out_are_refused(tmp_path, name):
    archive = opened(zipped({name: DATA}))
    (member,) = archive.namelist()
    with pytest.raises(UnpackError, match="leads out"):
        extract_member(archive, member, tmp_path / "in" / "evil.png")
    assert only_file_below(tmp_path) == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFDIR])
def test_links_and_devices_are_refused(tmp_path, kind):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            info = zipfile.ZipInfo("x.png")
            info.create_system, info.external_attr = 3, (kind | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
        with pytest.raises(UnpackError, match="link or a device"):
            extract_member(zipfile.ZipFile(file), "x.png", tmp_path / "x.png")
    assert only_file_below(tmp_path) == []


def test_bomb_is_refused_before_a_byte_is_written(tmp_path):
    archive = opened(zipped({"x.png": bytes(50_000_000)}, zipfile.ZIP_DEFLATED))
    with pytest.raises(UnpackError, match="claims 50000000 bytes, more than the 1000000"):
        extract_member(archive, "x.png", tmp_path / "x.png", limit=1_000_000)
    with pytest.raises(UnpackError, match="is 50000000 bytes, expected 1234"):
        extract_member(archive, "x.png", tmp_path / "x.png", size=1234)
    assert only_file_below(tmp_path) == []


def test_bomb_that_lies_about_its_size_is_stopped(tmp_path):
    """Central and local header claim 1000 bytes, the stream holds 5 million."""
    content = bytearray(zipped({"x.png": bytes(5_000_000)}, zipfile.ZIP_DEFLATED))
    for at in (22, content.rindex(b"PK\x01\x02") + 24):
        content[at : at + 4] = struct.pack("<I", 1000)
    with pytest.raises(UnpackError, match="damaged"):
        extract_member(opened(bytes(content)), "x.png", tmp_path / "x.png")
    assert only_file_below(tmp_path) == []


def test_wrong_crc_is_refused_and_nothing_stays(tmp_path):
    content = bytearray(zipped({"x.png": DATA}))
    content[1000] ^= 1
    with pytest.raises(UnpackError, match="CRC"):
        extract_member(opened(bytes(content)), "x.png", tmp_path / "x.png")
    assert only_file_below(tmp_path) == []


def test_damaged_stream(tmp_path):
    content = bytearray(zipped({"x.png": DATA[:1000] * 20}, zipfile.ZIP_DEFLATED))
    content[60:80] = b"\xff" * 20
    with pytest.raises(UnpackError, match=r"x\.png.*damaged"):
        extract_member(opened(bytes(content)), "x.png", tmp_path / "x.png")
    assert only_file_below(tmp_path) == []


def test_encrypted_and_missing_members(tmp_path):
    content = bytearray(zipped({"x.png": DATA}))
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(UnpackError, match="encrypted"):
        extract_member(opened(bytes(content)), "x.png", tmp_path / "x.png")
    with pytest.raises(UnpackError, match="no such member"):
        extract_member(opened(zipped({"x.png": DATA})), "y.png", tmp_path / "y.png")


def test_present_file_stays_when_its_replacement_fails(tmp_path):
    (tmp_path / "x.png").write_bytes(b"before")
    content = bytearray(zipped({"x.png": DATA}))
    content[1000] ^= 1
    with pytest.raises(UnpackError):
        extract_member(opened(bytes(content)), "x.png", tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes() == b"before"


def test_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(DownloadError, match=f"needs {len(DATA)} bytes and the disk has 10 free"):
        extract_member(opened(zipped({"x.png": DATA})), "x.png", tmp_path / "x.png")


def test_find_member():
    names = ["D/train/0001.png", "D/train/0002.png", "D/x/0002.png", "D/0003.png/"]
    assert find_member(names, "D/train/", "0002.png") == "D/train/0002.png"
    assert find_member(names, "other/", "0001.png") == "D/train/0001.png"
    assert find_member(names, "other/", "0002.png") is None  # two of that name: none is guessed
    assert find_member(names, "other/", "0003.png") is None
    assert find_member(names, "other/", "1.png") is None


MEMBERS = {f"DIV8K/train_HR/{n:04d}.png": np.random.default_rng(n).bytes(100_000) for n in range(40)}
ARCHIVE = zipped(MEMBERS)


def test_remote_member_by_ranges_moves_only_its_own_bytes(server, reply, tmp_path):
    url = server.route("/d.zip", reply(ARCHIVE))
    extract_remote(url, len(ARCHIVE), "DIV8K/train_HR/", "0007.png", tmp_path / "0007.png", 100_000, policy=QUICK)
    assert (tmp_path / "0007.png").read_bytes() == MEMBERS["DIV8K/train_HR/0007.png"]
    asked = [headers["range"] for headers in server.asked("/d.zip")]
    assert asked[0] == "bytes=-65536" and len(asked) == 2
    first, last = map(int, asked[1].removeprefix("bytes=").split("-"))
    assert last - first < 101_000


def test_remote_faults_that_pass_are_retried(server, reply, tmp_path):
    url = server.route("/d.zip", reply(b"", status=503), reply(ARCHIVE), reply(ARCHIVE, cut_after=5000), reply(ARCHIVE))
    extract_remote(url, len(ARCHIVE), "DIV8K/train_HR/", "0039.png", tmp_path / "a.png", policy=QUICK)
    assert (tmp_path / "a.png").read_bytes() == MEMBERS["DIV8K/train_HR/0039.png"]
    assert only_file_below(tmp_path) == ["a.png"]


def test_remote_redirects_are_followed(server, reply, tmp_path):
    server.route("/real", reply(ARCHIVE))
    url = server.route("/d.zip", reply(status=302, headers={"Location": "/real"}))
    extract_remote(url, len(ARCHIVE), "DIV8K/train_HR/", "0000.png", tmp_path / "a.png", policy=QUICK)
    assert (tmp_path / "a.png").read_bytes() == MEMBERS["DIV8K/train_HR/0000.png"]


def test_remote_corruption_is_refused(server, reply, tmp_path):
    broken = bytearray(ARCHIVE)
    broken[ARCHIVE.index(MEMBERS["DIV8K/train_HR/0003.png"]) + 50] ^= 1
    url = server.route("/d.zip", reply(bytes(broken)))
    with pytest.raises(UnpackError, match=r"0003\.png.*CRC"):
        extract_remote(url, len(ARCHIVE), "DIV8K/train_HR/", "0003.png", tmp_path / "a.png", policy=QUICK)
    assert only_file_below(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"status": 404}, "404"),
        ({"ranges": False}, "whole files only"),
        ({"body": zipped({"x": b"y"})}, "another archive"),
        ({"body": b"no zip" * 20_000}, "zip"),
    ],
)
def test_remote_archives_that_will_not_do(server, reply, tmp_path, options, reason):
    url = server.route("/d.zip", reply(**({"body": ARCHIVE} | options)))
    with pytest.raises(UnpackError, match=reason):
        extract_remote(url, len(ARCHIVE), "DIV8K/train_HR/", "0000.png", tmp_path / "a.png", policy=QUICK)
    assert only_file_below(tmp_path) == []


def test_remote_404_is_asked_once_and_a_missing_member_is_named(server, reply, tmp_path):
    with pytest.raises(UnpackError):
        extract_remote(server.url + "/none", 1, "", "a.png", tmp_path / "a.png", policy=QUICK)
    assert len(server.requests) == 1
    url = server.route("/d.zip", reply(ARCHIVE))
    with pytest.raises(UnpackError, match=r"holds no member DIV8K/train_HR/9999\.png"):
        extract_remote(url, len(ARCHIVE), "DIV8K/train_HR/", "9999.png", tmp_path / "a.png", policy=QUICK)


def test_remote_server_that_is_not_there(unused_url, tmp_path):
    with pytest.raises(ArchiveUnreachable, match="cannot be reached"):
        extract_remote(unused_url, 1, "", "a.png", tmp_path / "a.png", policy=QUICK)
