"""What servers may do: nothing that changes a file unnoticed, leads elsewhere or fills the disk.

Cut, endless, re-coded and wrong answers, redirect loops and redirects to files are in tests/datasets/test_download.py.
"""

from __future__ import annotations

import hashlib
import io
import socket
import zipfile

import pytest
import yaml

from splatbench.datasets import httpfields
from splatbench.datasets.download import DownloadError, RetryPolicy, fetch_file
from splatbench.datasets.manifest import DatasetError, available_datasets, load_manifest, read_manifest
from splatbench.datasets.unpack import UnpackError, extract_remote

QUICK = RetryPolicy(attempts=1, unreachable_attempts=1, first_wait=0.01, longest_wait=0.01, timeout=2.0)
BODY = b"the file" * 1000
SHA = hashlib.sha256(BODY).hexdigest()
MANIFEST = {
    "name": "sent",
    "title": "t",
    "licence": "l",
    "homepage": "https://example.org",
    "citation": "c",
    "base_url": "https://example.org/",
    "images": [{"name": "a.png"}],
}
#: A name that this machine's resolver is made to answer with 127.0.0.1, as if it were another machine.
ELSEWHERE = "elsewhere.example"


@pytest.fixture
def network(monkeypatch):
    """Every name is this machine: what is refused here is refused for its address, not for want of an answer."""
    real = socket.getaddrinfo

    def resolve(host, *arguments, **options):
        host = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if host == ELSEWHERE else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def far(url):
    return url.replace("127.0.0.1", ELSEWHERE)


@pytest.mark.parametrize(
    ("url", "open_line"),
    [
        ("https://example.org/a", False),
        ("http://example.org/a", True),
        ("http://127.0.0.1:80/a", False),
        ("http://127.9.9.9/a", False),
        ("http://[::1]:80/a", False),
        ("http://localhost/a", False),
        ("http://localhost.example.org/a", True),
        ("http://127.0.0.1.example.org/a", True),
        ("http://user@10.0.0.1/a", True),
        ("http://127.0.0.1@example.org/a", True),
        ("ftp://example.org/a", True),
    ],
)
def test_which_addresses_need_a_hash(url, open_line):
    assert httpfields.may_be_changed_on_the_way(url) is open_line


def test_without_tls_a_file_needs_its_hash(network, server, reply, tmp_path):
    url = far(server.route("/a.bin", reply(BODY)))
    with pytest.raises(DownloadError, match="has no TLS, and no SHA-256 is known"):
        fetch_file(url, tmp_path / "a.bin", size=len(BODY), policy=QUICK)
    assert server.requests == [] and not (tmp_path / "a.bin").exists()
    assert fetch_file(url, tmp_path / "a.bin", sha256=SHA, policy=QUICK).read_bytes() == BODY


def test_a_redirect_to_an_open_line_is_refused(network, server, reply, tmp_path):
    server.route("/real", reply(BODY))
    url = server.route("/a.bin", reply(status=302, headers={"Location": far(server.url) + "/real"}))
    with pytest.raises(DownloadError, match=f"http://{ELSEWHERE}.* has no TLS"):
        fetch_file(url, tmp_path / "a.bin", policy=QUICK)
    assert server.asked("/real") == []


def test_members_of_remote_archives_come_over_tls_alone(network, server, reply, tmp_path):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x.png", BODY)
        content = file.getvalue()
    near = server.route("/a.zip", reply(content))
    redirected = server.route("/b.zip", reply(status=302, headers={"Location": far(near)}))
    extract_remote(near, len(content), "", "x.png", tmp_path / "near.png", policy=QUICK)
    assert (tmp_path / "near.png").read_bytes() == BODY
    for url in (far(near), redirected):
        with pytest.raises(UnpackError, match="has no TLS"):
            extract_remote(url, len(content), "", "x.png", tmp_path / "x.png", policy=QUICK)
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://example.org/a", "gopher://x/", "//", "http://[::1"])
def test_redirects_to_other_schemes_are_refused(server, reply, tmp_path, location):
    url = server.route("/a.bin", reply(status=302, headers={"Location": location}))
    with pytest.raises(DownloadError, match=r"a\.bin could not be downloaded"):
        fetch_file(url, tmp_path / "a.bin", policy=QUICK)
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_our_manifests_bound_what_is_downloaded():
    for name in available_datasets():
        manifest = load_manifest(name)
        files = [entry for entry in manifest.entries() if manifest.urls(entry)]
        assert all(entry.bytes is not None or entry.sha256 is not None for entry in files), name


def test_our_manifests_name_https_alone():
    for name in available_datasets():
        manifest = load_manifest(name)
        urls = [url for entry in manifest.entries() for url in manifest.urls(entry)]
        urls += [url for archive in manifest.archives for url in archive.urls]
        assert all(url.startswith("https://") for url in urls), name


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://example.org/", "javascript:alert(1)", "/etc/passwd", "https://a b"]
)
def test_manifests_name_http_addresses_alone(tmp_path, url):
    (tmp_path / "sent.yaml").write_text(yaml.safe_dump(MANIFEST | {"base_url": url}))
    with pytest.raises(DatasetError, match="base_url"):
        read_manifest(tmp_path / "sent.yaml")


@pytest.mark.parametrize(
    "image",
    [
        "../a.png",
        "/a.png",
        "a/b.png",
        "..",
        ".a.png",
        "-a.png",
        "a\\b.png",
        "a\nb.png",
        "a\0.png",
        "C:a.png",
        "a b.png",
        "x" * 201,
    ],
)
def test_images_of_manifests_have_plain_names(tmp_path, image):
    (tmp_path / "sent.yaml").write_text(yaml.safe_dump(MANIFEST | {"images": [{"name": image}]}))
    with pytest.raises(DatasetError, match="is not a plain file name"):
        read_manifest(tmp_path / "sent.yaml")
