"""Downloads against a server that cuts, lies, redirects, refuses and recovers."""

from __future__ import annotations

import collections
import errno
import hashlib
import http.server
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splatbench.datasets import download
from splatbench.datasets.download import DownloadError, RetryPolicy, fetch_file

BODY = np.random.default_rng(7).bytes(3_000_000)
SHA = hashlib.sha256(BODY).hexdigest()
QUICK = RetryPolicy(attempts=4, first_wait=0.01, longest_wait=0.05, timeout=5.0)


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def fetch(url, path, **kwargs):
    return fetch_file(url, path, policy=QUICK, **kwargs)


def test_plain_download_reports_progress_and_leaves_only_the_file(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY))
    seen: list[tuple[int, int | None]] = []
    path = fetch(url, tmp_path / "deep" / "a.bin", size=len(BODY), sha256=SHA, progress=lambda *x: seen.append(x))
    assert path.read_bytes() == BODY
    assert leftovers(path.parent) == ["a.bin"]
    assert seen[-1] == (len(BODY), len(BODY)) and [s[0] for s in seen] == sorted(s[0] for s in seen)


def test_present_and_verified_file_is_not_asked_for_again(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY))
    target = tmp_path / "a.bin"
    target.write_bytes(BODY)
    assert fetch(url, target, sha256=SHA) == target and server.requests == []
    target.write_bytes(BODY[:-1] + b"x")
    fetch(url, target, size=len(BODY), sha256=SHA)
    assert target.read_bytes() == BODY and len(server.requests) == 1


def test_cut_connections_are_resumed_from_the_last_byte(server, reply, tmp_path):
    cuts = [reply(BODY, etag='"v1"', cut_after=n) for n in (1_000_000, 700_001, 1, 0)]
    url = server.route("/a.bin", *cuts, reply(BODY, etag='"v1"'))
    path = fetch(url, tmp_path / "a.bin", size=len(BODY), sha256=SHA)
    assert path.read_bytes() == BODY
    ranges = [h.get("range") for h in server.asked("/a.bin")]
    assert ranges == [None, "bytes=1000000-", "bytes=1700001-", "bytes=1700002-", "bytes=1700002-"]
    assert {h.get("if-range") for h in server.asked("/a.bin")[1:]} == {'"v1"'}


def test_part_of_a_killed_run_is_continued(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY, etag='"v1"', cut_after=1_234_567))
    script = (
        "import sys; from splatbench.datasets.download import *\n"
        "import splatbench.datasets.download as d, os\n"
        "d.tenacity.nap.time.sleep = lambda s: os.kill(os.getpid(), 9)\n"  # SIGKILL where it would wait
        f"fetch_file({url!r}, {str(tmp_path / 'a.bin')!r}, sha256={SHA!r})\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert killed.returncode == -9, killed.stderr
    assert (tmp_path / "a.bin.part").stat().st_size == 1_234_567 and not (tmp_path / "a.bin").exists()
    server.route("/a.bin", reply(BODY, etag='"v1"'))
    assert fetch(url, tmp_path / "a.bin", sha256=SHA).read_bytes() == BODY
    assert server.asked("/a.bin")[-1]["range"] == "bytes=1234567-"
    assert leftovers(tmp_path) == ["a.bin"]


def test_server_that_ignores_range_gives_the_right_file(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY, etag='"v1"', cut_after=999), reply(BODY, etag='"v1"', ranges=False))
    assert fetch(url, tmp_path / "a.bin", sha256=SHA).read_bytes() == BODY
    assert server.asked("/a.bin")[1]["range"] == "bytes=999-"


@pytest.mark.parametrize("known", [True, False])
def test_file_that_changes_between_tries_is_never_mixed(server, reply, tmp_path, known):
    old = bytes(len(BODY))
    url = server.route("/a.bin", reply(old, etag='"old"', cut_after=1_000_000), reply(BODY, etag='"new"'))
    path = fetch(url, tmp_path / "a.bin", sha256=SHA if known else None)
    assert path.read_bytes() == BODY


def test_change_without_any_validator_is_caught_by_the_hash(server, reply, tmp_path):
    old = bytes(len(BODY))
    url = server.route("/a.bin", reply(old, cut_after=1_000_000), reply(BODY))
    (tmp_path / "a.bin.part").write_bytes(old[:1000])  # of an unknown version, too
    assert fetch(url, tmp_path / "a.bin", sha256=SHA).read_bytes() == BODY


def test_part_without_validator_or_hash_is_not_continued(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY))
    (tmp_path / "a.bin.part").write_bytes(b"other" * 100)
    assert fetch(url, tmp_path / "a.bin").read_bytes() == BODY
    assert "range" not in server.asked("/a.bin")[0]


def test_weak_etag_is_not_used_as_if_range(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY, etag='W/"v1"', cut_after=1000), reply(BODY, etag='W/"v1"'))
    assert fetch(url, tmp_path / "a.bin", sha256=SHA).read_bytes() == BODY
    assert "if-range" not in server.asked("/a.bin")[1]


def test_wrong_bytes_are_refused_and_removed(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY[:-1] + bytes([BODY[-1] ^ 1])))
    with pytest.raises(DownloadError, match=rf"(?s)a\.bin.*SHA-256 is [0-9a-f]{{64}}, expected {SHA}"):
        fetch(url, tmp_path / "a.bin", size=len(BODY), sha256=SHA)
    assert leftovers(tmp_path) == [] and len(server.requests) == 1


def test_mirror_is_used_when_the_first_address_is_wrong_or_missing(server, reply, tmp_path):
    wrong = server.route("/wrong", reply(bytes(len(BODY))))
    right = server.route("/right", reply(BODY))
    path = fetch([server.url + "/none", wrong, right], tmp_path / "a.bin", size=len(BODY), sha256=SHA)
    assert path.read_bytes() == BODY
    assert [p for p, _ in server.requests] == ["/none", "/wrong", "/right"]


def test_cut_off_mirror_is_continued_at_the_next(server, reply, tmp_path):
    first = server.route("/one", reply(BODY, cut_after=2_000_000), reply(b"", status=404))
    second = server.route("/two", reply(BODY))
    assert fetch([first, second], tmp_path / "a.bin", sha256=SHA).read_bytes() == BODY
    assert server.asked("/two")[0]["range"] == "bytes=2000000-"


def test_404_is_not_retried_and_all_reasons_are_listed(server, tmp_path):
    urls = [server.url + "/x", server.url + "/y"]
    with pytest.raises(DownloadError) as caught:
        fetch(urls, tmp_path / "a.bin")
    assert len(server.requests) == 2 and not caught.value.unreachable
    assert all(url in str(caught.value) for url in urls) and str(caught.value).count("404") == 2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_faults_are_retried(server, reply, tmp_path, status):
    url = server.route("/a.bin", reply(b"later", status=status), reply(b"later", status=status), reply(BODY))
    assert fetch(url, tmp_path / "a.bin", sha256=SHA).read_bytes() == BODY
    assert len(server.requests) == 3


def test_lasting_fault_ends_after_the_attempts(server, reply, tmp_path):
    url = server.route("/a.bin", reply(b"later", status=503))
    with pytest.raises(DownloadError, match="503"):
        fetch(url, tmp_path / "a.bin")
    assert len(server.requests) == QUICK.attempts


def test_waits_grow_and_retry_after_is_obeyed(server, reply, tmp_path, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(download.tenacity.nap.time, "sleep", waits.append)
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    url = server.route(
        "/a.bin",
        *[reply(b"", status=503) for _ in range(3)],
        reply(b"", status=429, headers={"Retry-After": "7"}),
        reply(b"", status=503, headers={"Retry-After": date}),
        reply(BODY),
    )
    fetch_file(url, tmp_path / "a.bin", sha256=SHA, policy=RetryPolicy(attempts=6, first_wait=2.0, longest_wait=5.0))
    growing, asked = waits[:3], waits[3:]
    assert [w / n for w, n in zip(growing, (2, 4, 5), strict=True)] == pytest.approx([1, 1, 1], abs=0.26)
    assert asked[0] == 7.0 and 25 <= asked[1] <= 31


def test_absurd_retry_after_gives_the_address_up(server, reply, tmp_path):
    url = server.route("/a.bin", reply(b"", status=429, headers={"Retry-After": "86400"}))
    with pytest.raises(DownloadError, match="429"):
        fetch(url, tmp_path / "a.bin")
    assert len(server.requests) == 1


def test_redirects_are_followed_also_when_resuming(server, reply, tmp_path):
    server.route("/real", reply(BODY, etag='"r"', cut_after=500_000), reply(BODY, etag='"r"'))
    url = server.route("/a.bin", reply(status=302, headers={"Location": "/b"}))
    server.route("/b", reply(status=307, headers={"Location": server.url + "/real"}))
    assert fetch(url, tmp_path / "a.bin", sha256=SHA).read_bytes() == BODY
    assert [h.get("range") for h in server.asked("/real")] == [None, "bytes=500000-"]


def test_redirect_loop_and_foreign_scheme_are_refused(server, reply, tmp_path):
    loop = server.route("/loop", reply(status=302, headers={"Location": "/loop"}))
    local = server.route("/local", reply(status=302, headers={"Location": "file:///etc/passwd"}))
    with pytest.raises(DownloadError) as caught:
        fetch([loop, local], tmp_path / "a.bin")
    assert str(caught.value).count("\n") == 2 and leftovers(tmp_path) == []


def test_content_length_too_long_with_the_right_bytes_is_refused_before_reading(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY, declared_length=len(BODY) + 10))
    with pytest.raises(DownloadError, match=f"offers {len(BODY) + 10} bytes, expected {len(BODY)}"):
        fetch(url, tmp_path / "a.bin", size=len(BODY), sha256=SHA)
    assert leftovers(tmp_path) == []


def test_content_length_too_long_without_known_size_ends_in_an_error(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY, declared_length=len(BODY) + 10, ranges=False))
    with pytest.raises(DownloadError, match="connection"):
        fetch(url, tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()


def test_content_length_too_short_is_caught(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY, declared_length=len(BODY) - 10))
    with pytest.raises(DownloadError):
        fetch(url, tmp_path / "a.bin", sha256=SHA)
    assert leftovers(tmp_path) == []


def test_endless_body_stops_at_the_expected_size(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY, no_length=True))
    with pytest.raises(DownloadError, match="more than the expected 1000000 bytes"):
        fetch(url, tmp_path / "a.bin", size=1_000_000)
    assert leftovers(tmp_path) == []


def test_range_that_was_not_asked_for_is_not_appended(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY, cut_after=1000), reply(BODY, other_range=True), reply(BODY))
    assert fetch(url, tmp_path / "a.bin", sha256=SHA).read_bytes() == BODY


def test_complete_part_needs_no_bytes(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY))
    (tmp_path / "a.bin.part").write_bytes(BODY)
    assert fetch(url, tmp_path / "a.bin", size=len(BODY), sha256=SHA).read_bytes() == BODY
    assert server.requests == []
    (tmp_path / "a.bin").rename(tmp_path / "a.bin.part")
    assert fetch(url, tmp_path / "a.bin", sha256=SHA).read_bytes() == BODY  # size unknown: the server says 416
    assert server.asked("/a.bin")[0]["range"] == f"bytes={len(BODY)}-" and len(server.requests) == 1


def test_whole_part_of_the_wrong_size_is_not_taken(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY[:1000], etag='"v"'))
    (tmp_path / "a.bin.part").write_bytes(BODY[:1000])
    (tmp_path / "a.bin.part.json").write_text(json.dumps({"url": url, "validator": '"v"', "total": 1000}))
    with pytest.raises(DownloadError, match="offers 1000 bytes, expected 2000"):
        fetch(url, tmp_path / "a.bin", size=2000)
    assert leftovers(tmp_path) == []


def test_recoded_body_is_refused(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(DownloadError, match="gzip"):
        fetch(url, tmp_path / "a.bin")


def test_empty_file(server, reply, tmp_path):
    url = server.route("/empty", reply(b""))
    assert fetch(url, tmp_path / "e", size=0, sha256=hashlib.sha256(b"").hexdigest()).read_bytes() == b""


def test_unreachable_server_says_so_quickly(unused_url, tmp_path):
    with pytest.raises(DownloadError, match="cannot be reached") as caught:
        fetch(unused_url, tmp_path / "a.bin")
    assert caught.value.unreachable


def test_silent_server_is_a_cut_connection(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/a.bin"
        with pytest.raises(DownloadError, match="stopped sending"):
            fetch_file(url, tmp_path / "a.bin", policy=RetryPolicy(attempts=2, first_wait=0.01, timeout=0.1))


def test_too_little_free_space_is_said_before_writing(server, reply, tmp_path, monkeypatch):
    url = server.route("/a.bin", reply(BODY))
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(DownloadError, match=f"needs {len(BODY)} bytes and the disk has 1000 free"):
        fetch(url, tmp_path / "a.bin")
    assert leftovers(tmp_path) == [] and len(server.requests) == 1


def test_disk_that_fills_up_keeps_the_part_and_says_so(server, reply, tmp_path, monkeypatch):
    url = server.route("/a.bin", reply(BODY, etag='"v"'))
    written = 0

    def full(response: object) -> None:
        nonlocal written
        written += 1
        if written > 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DownloadError, match="disk is full"):
        fetch(url, tmp_path / "a.bin", sha256=SHA, progress=lambda *_: full(None))
    assert 0 < (tmp_path / "a.bin.part").stat().st_size < len(BODY)
    assert fetch(url, tmp_path / "a.bin", sha256=SHA).read_bytes() == BODY
    assert server.asked("/a.bin")[1]["range"].startswith("bytes=")


def test_folder_that_cannot_be_made_is_named(server, reply, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    url = server.route("/a.bin", reply(BODY))
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch(url, tmp_path / "file" / "a.bin")


def test_two_at_once_download_once(server, reply, tmp_path):
    url = server.route("/a.bin", reply(BODY))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            fetch(url, tmp_path / "a.bin", sha256=SHA)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(server.requests) == 1 and (tmp_path / "a.bin").read_bytes() == BODY


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(0, 60_000), max_size=3),
    ranges=st.lists(st.booleans(), min_size=4, max_size=4),
    etags=st.lists(st.sampled_from([None, '"a"', 'W/"a"']), min_size=4, max_size=4),
)
def test_any_sequence_of_cuts_gives_the_exact_file(server, reply, tmp_path_factory, cuts, ranges, etags):
    """Whatever the server does on the way: with a known hash the result is the file."""
    body = BODY[:50_000]
    replies = [reply(body, cut_after=cut, ranges=r, etag=e) for cut, r, e in zip(cuts, ranges, etags, strict=False)]
    url = server.route("/h.bin", *replies, reply(body, ranges=ranges[3], etag=etags[3]))
    folder = tmp_path_factory.mktemp("h")
    policy = RetryPolicy(attempts=6, first_wait=0.001, longest_wait=0.002)
    path = fetch_file(url, folder / "h.bin", sha256=hashlib.sha256(body).hexdigest(), policy=policy)
    assert path.read_bytes() == body and leftovers(folder) == ["h.bin"]


def test_http_server_of_the_standard_library(tmp_path):
    """Against a server that is not ours: no Range support, Last-Modified only."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "a.bin").write_bytes(BODY)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(tmp_path / "www"), **kwargs)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        path = fetch(f"http://127.0.0.1:{httpd.server_port}/a.bin", tmp_path / "a.bin", sha256=SHA)
        httpd.shutdown()
    assert path.read_bytes() == BODY
