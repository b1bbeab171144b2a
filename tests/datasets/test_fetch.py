"""Getting a data set: files, archives, remote archives; offline; again; two at once."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splatbench.datasets import DatasetError, cache_folder, get_dataset, load_image
from splatbench.datasets.download import RetryPolicy
from splatbench.datasets.fetch import fetch_dataset

QUICK = RetryPolicy(attempts=3, first_wait=0.01, longest_wait=0.02, timeout=5.0)


def fetch(name, images=None, **options):
    return fetch_dataset(get_dataset(name), images, policy=QUICK, **options)


def zipped(members: dict[str, bytes]) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return file.getvalue()


def archive_entry(url: str, content: bytes, **more) -> dict:
    digest = hashlib.sha256(content).hexdigest()
    return {"urls": [url], "bytes": len(content), "sha256": digest, "folder": "Set/HR/", **more}


def files_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_files_of_their_own(server, reply, manifest, pictures):
    for picture in pictures:
        server.route(f"/d/{picture.name}", reply(picture.content))
    manifest("own", base_url=server.url + "/d/", images=[p.entry for p in pictures])
    bars: dict[str, list[int]] = {}
    results = fetch("own", display=lambda name: lambda here, total: bars.setdefault(name, []).append(here))
    assert [(r.image, r.status) for r in results] == [(p.name, "fetched") for p in pictures]
    assert {name: steps[-1] for name, steps in bars.items()} == {p.name: len(p.content) for p in pictures}
    dataset = get_dataset("own")
    for picture in pictures:
        located = dataset.locate(picture.name)
        assert located.verified and located.path == cache_folder() / "data" / "own" / picture.name
        np.testing.assert_array_equal(load_image(located.path).pixels, picture.pixels)
    server.requests.clear()
    assert {r.status for r in fetch("own")} == {"present"} and server.requests == []


def test_only_what_is_asked_for_and_missing_is_downloaded(server, reply, manifest, pictures, tmp_path, monkeypatch):
    for picture in pictures:
        server.route(f"/d/{picture.name}", reply(picture.content))
    manifest("own", base_url=server.url + "/d/", images=[p.entry for p in pictures])
    (tmp_path / "here").mkdir()
    Image.fromarray(pictures[0].pixels).save(tmp_path / "here" / "p0.bmp")
    monkeypatch.setenv("SPLATBENCH_DATA", str(tmp_path / "here"))
    results = fetch("own", ["p0.png", "p2"])
    assert [(r.image, r.status) for r in results] == [("p0.png", "present"), ("p2.png", "fetched")]
    assert "re-encoded copy" in results[0].message
    assert [path for path, _ in server.requests] == ["/d/p2.png"]
    with pytest.raises(DatasetError, match="no image 'p9'"):
        fetch("own", ["p9"])


def test_one_bad_file_does_not_stop_the_others(server, reply, manifest, pictures):
    server.route("/d/p0.png", reply(pictures[1].content))
    server.route("/d/p1.png", reply(pictures[1].content))
    manifest("own", base_url=server.url + "/d/", images=[p.entry for p in pictures[:3]])
    results = fetch("own")
    assert [r.status for r in results] == ["failed", "fetched", "failed"]
    assert "expected" in results[0].message and "404" in results[2].message
    assert files_in(cache_folder() / "data" / "own") == ["p1.png"]


def test_download_without_known_hash_is_checked_by_size(server, reply, manifest, pictures):
    server.route("/d/p0.png", reply(pictures[0].content))
    server.route("/d/p1.png", reply(b"<html>please log in</html>"))
    right = {"name": "p0.png", "width": 36, "height": 24}
    manifest("own", base_url=server.url + "/d/", images=[right, right | {"name": "p1.png"}])
    results = fetch("own")
    assert [r.status for r in results] == ["fetched", "failed"]
    assert "not verified by hash" in results[0].message and "not an image" in results[1].message
    assert files_in(cache_folder() / "data" / "own") == ["p0.png"]


def test_offline_ends_at_the_first_unreachable_server(manifest, pictures, unused_url):
    manifest("own", base_url=unused_url + "/", images=[{"name": f"q{n:03d}.png"} for n in range(200)])
    results = fetch("own", jobs=2)
    assert {r.status for r in results} == {"failed"}
    messages = [r.message for r in results]
    assert "cannot be reached" in messages[0] and messages.count(messages[-1]) >= 190


def test_archive_is_verified_and_only_what_is_needed_is_unpacked(server, reply, manifest, pictures):
    content = zipped({f"Set/HR/{p.name}": p.content for p in pictures} | {"../evil.sh": b"evil", "readme.txt": b"x"})
    url = server.route("/set.zip", reply(content, etag='"1"', cut_after=len(content) // 2), reply(content, etag='"1"'))
    images = [{"name": p.name} for p in pictures]
    manifest("zipped", archives=[archive_entry(url, content)], images=images, long_side=36)
    assert [r.status for r in fetch("zipped", ["p1", "p3"])] == ["fetched"] * 2
    home = cache_folder() / "data" / "zipped"
    assert files_in(home) == ["p1.png", "p3.png"] and len(server.requests) == 2
    assert server.requests[1][1]["range"] == f"bytes={len(content) // 2}-"
    located = get_dataset("zipped").locate("p3.png")
    assert located.verified and located.notes == ()  # through the archive's hash
    assert files_in(cache_folder() / "archives") == ["set.zip"]
    assert {r.status for r in fetch("zipped")} == {"present", "fetched"} and len(server.requests) == 2
    assert files_in(cache_folder() / "archives") == []  # nothing in it is needed any more
    assert not list(cache_folder().rglob("evil*"))


def test_picture_changed_after_it_was_unpacked_is_refused(server, reply, manifest, pictures):
    content = zipped({f"Set/HR/{p.name}": p.content for p in pictures})
    url = server.route("/set.zip", reply(content))
    manifest("zipped", archives=[archive_entry(url, content)], images=[{"name": "p0.png"}])
    (result,) = fetch("zipped")
    result.path.write_bytes(pictures[1].content)
    located, refused = get_dataset("zipped").find("p0.png")
    assert located is None and "changed after it was fetched" in refused[0].reason
    assert [r.status for r in fetch("zipped")] == ["fetched"]
    np.testing.assert_array_equal(load_image(get_dataset("zipped").path("p0")).pixels, pictures[0].pixels)


def test_archive_that_lies_in_a_data_folder_is_used(server, manifest, pictures, tmp_path, monkeypatch):
    content = zipped({f"Set/HR/{p.name}": p.content for p in pictures})
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "set.zip").write_bytes(content)
    monkeypatch.setenv("SPLATBENCH_DATA", str(tmp_path / "here"))
    manifest("zipped", archives=[archive_entry(server.url + "/set.zip", content)], images=[{"name": "p0.png"}])
    assert [r.status for r in fetch("zipped")] == ["fetched"]
    assert server.requests == [] and (tmp_path / "here" / "set.zip").read_bytes() == content


@pytest.mark.parametrize(
    ("member", "mode", "reason"),
    [
        ("../p0.png", stat.S_IFREG, "leads out"),
        ("Set/HR/p0.png", stat.S_IFLNK, "link"),
        ("Set/HR/q0.png", stat.S_IFREG, "no member Set/HR/p0.png"),
    ],
)
def test_dangerous_members_are_refused_in_a_fetch(server, reply, manifest, pictures, member, mode, reason):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            info = zipfile.ZipInfo(member)
            info.create_system, info.external_attr = 3, (mode | 0o644) << 16
            archive.writestr(info, pictures[0].content)
            archive.writestr("Set/HR/p1.png", pictures[1].content)
        content = file.getvalue()
    url = server.route("/set.zip", reply(content))
    manifest("zipped", archives=[archive_entry(url, content)], images=[{"name": "p0.png"}, {"name": "p1.png"}])
    bad, good = fetch("zipped")
    assert bad.status == "failed" and reason in bad.message and good.status == "fetched"
    assert files_in(cache_folder() / "data" / "zipped") == ["p1.png"]


def test_bomb_is_bounded_by_the_size_of_the_picture(server, reply, manifest):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("Set/HR/p0.png", bytes(3 << 20))
        content = file.getvalue()
    url = server.route("/set.zip", reply(content))
    entry = {"name": "p0.png", "width": 36, "height": 24}
    manifest("zipped", archives=[archive_entry(url, content)], images=[entry])
    (result,) = fetch("zipped")
    assert result.status == "failed" and "more than the" in result.message


def test_single_members_come_out_of_a_remote_archive(server, reply, manifest, pictures):
    filler = {f"Set/HR/x{n}.png": np.random.default_rng(n).bytes(50_000) for n in range(20)}
    content = zipped({f"Set/HR/{p.name}": p.content for p in pictures} | filler)
    url = server.route("/big.zip", reply(content))
    manifest(
        "remote",
        archives=[
            archive_entry(server.url + "/none.zip", b"x", take="members"),
            archive_entry(url, content, take="members"),
        ],
        images=[{"name": p.name, "width": 36, "height": 24} for p in pictures],
    )
    results = fetch("remote", jobs=2)
    assert [r.status for r in results] == ["fetched"] * 4
    assert all("not verified by hash" in r.message for r in results)
    assert all("range" in headers for _, headers in server.requests)
    assert not (cache_folder() / "archives").exists()
    for picture in pictures:
        np.testing.assert_array_equal(load_image(get_dataset("remote").path(picture.name)).pixels, picture.pixels)


def test_remote_member_that_is_another_picture_is_removed(server, reply, manifest, pictures):
    content = zipped({"Set/HR/p0.png": pictures[1].content})
    url = server.route("/big.zip", reply(content))
    entry = {"name": "p0.png", "pixel_sha256": pictures[0].entry["pixel_sha256"]}
    manifest("remote", archives=[archive_entry(url, content, take="members")], images=[entry])
    (result,) = fetch("remote")
    assert result.status == "failed" and "not the picture: the pixels differ" in result.message
    assert files_in(cache_folder() / "data" / "remote") == []


def test_what_no_program_can_get_fails_with_the_way_by_hand(manifest):
    manifest("hand", manual="Ask the authors.", images=[{"name": "a.png"}])
    (result,) = fetch("hand")
    assert result.status == "failed" and "Ask the authors." in get_dataset("hand").explain(["a.png"])


def test_builtin_and_folders_need_no_fetch(tmp_path):
    assert {r.status for r in fetch("sample")} == {"present"}
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    assert {r.status for r in fetch(tmp_path)} == {"present"}


def test_cache_that_cannot_be_made_is_a_message(server, reply, manifest, pictures, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SPLATBENCH_CACHE", str(tmp_path / "file"))
    server.route("/d/p0.png", reply(pictures[0].content))
    manifest("own", base_url=server.url + "/d/", images=[pictures[0].entry])
    (result,) = fetch("own")
    assert result.status == "failed" and "cannot be written" in result.message


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_full_small_disk(server, reply, manifest, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        monkeypatch.setenv("SPLATBENCH_CACHE", str(disk))
        body = np.random.default_rng(0).bytes(200_000)
        server.route("/d/p0.png", reply(body))
        server.route("/d/p1.png", reply(body, no_length=True))
        manifest("own", base_url=server.url + "/d/", images=[{"name": "p0.png"}, {"name": "p1.png"}])
        announced, not_announced = fetch("own", jobs=1)
        assert "needs 200000 bytes and the disk has" in announced.message
        assert "the disk is full" in not_announced.message
    finally:
        subprocess.run(["umount", disk], check=True)


def test_two_processes_download_once(server, reply, manifest, pictures):
    for picture in pictures:
        server.route(f"/d/{picture.name}", reply(picture.content))
    manifest("own", base_url=server.url + "/d/", images=[p.entry for p in pictures])
    code = (
        "from splatbench.datasets import get_dataset\n"
        "from splatbench.datasets.fetch import fetch_dataset\n"
        "assert all(r.path for r in fetch_dataset(get_dataset('own')))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    assert sorted(path for path, _ in server.requests) == sorted(f"/d/{p.name}" for p in pictures)


def test_two_threads_with_an_archive_do_not_disturb_each_other(server, reply, manifest, pictures):
    content = zipped({f"Set/HR/{p.name}": p.content for p in pictures})
    url = server.route("/set.zip", reply(content))
    manifest("zipped", archives=[archive_entry(url, content)], images=[{"name": p.name} for p in pictures])
    outcomes: list[set[str]] = []
    threads = [threading.Thread(target=lambda: outcomes.append({r.status for r in fetch("zipped")})) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["{'fetched'}", "{'present'}", "{'present'}"] and len(server.requests) == 1


def test_bars_on_a_terminal_and_silence_elsewhere(server, reply, manifest, pictures, monkeypatch, capsys):
    from splatbench.datasets.display import download_display

    server.route("/d/p0.png", reply(pictures[0].content))
    manifest("own", base_url=server.url + "/d/", images=[pictures[0].entry])
    with download_display() as display:
        display("x.zip")(5, 10)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with download_display() as display:
        display("x.zip")(5, 10)
    out, err = capsys.readouterr()
    assert out == "" and "x.zip" in err and "5/10 bytes" in err
