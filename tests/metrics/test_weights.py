"""Weights on the command line, fetched from a local server."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from splatbench.cli.weights import app
from splatbench.metrics import MetricError, weights

runner = CliRunner()
CONTENT = bytes(range(256)) * 400


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Address of a server that offers good.pth (the manifest's bytes) and bad.pth (others of the same length)."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "good.pth").write_bytes(CONTENT)
    (tmp_path / "www" / "bad.pth").write_bytes(CONTENT[::-1])
    handler = functools.partial(_Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch, server: str) -> Path:
    """The cache folder of a manifest with `good`, `bad` (the server sends other bytes) and `local` (no address)."""
    linear = {"file": "l.pth", "bytes": 1, "sha256": "0" * 64}
    about = {"title": "t", "licence": "l", "citation": "c", "linear": linear}
    file = {"bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
    entries = {name: {**about, "files": [{**file, "file": f"{name}.pth"}]} for name in ("good", "bad", "local")}
    for name in ("good", "bad"):
        entries[name]["files"][0]["urls"] = [f"{server}/{name}.pth"]
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump({"weights": entries}))
    monkeypatch.setattr(weights, "MANIFEST", tmp_path / "weights.yaml")
    monkeypatch.setenv("SPLATBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("SPLATBENCH_WEIGHTS", str(tmp_path / "mine"))
    return tmp_path / "cache" / "weights"


def test_fetch_then_list_path_and_verify(cache: Path) -> None:
    done = runner.invoke(app, ["fetch", "good"])
    assert done.exit_code == 0, done.output
    assert (cache / "good.pth").read_bytes() == CONTENT
    assert runner.invoke(app, ["path", "good"]).stdout.strip() == str(cache / "good.pth")
    listed = {row["name"]: row["path"] for row in json.loads(runner.invoke(app, ["list", "--json"]).stdout)}
    assert listed == {"good": str(cache / "good.pth"), "bad": None, "local": None}
    assert "missing: splatbench weights fetch bad" in runner.invoke(app, ["list"]).stdout
    verified = runner.invoke(app, ["verify"])
    assert verified.exit_code == 0 and "good: ok" in verified.stdout and "local: not here" in verified.stdout


def test_fetch_keeps_what_is_here(cache: Path, tmp_path: Path, server: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bad.pth").write_bytes(CONTENT)  # the right bytes, from elsewhere
    done = runner.invoke(app, ["fetch", "bad"])
    assert done.exit_code == 0 and str(tmp_path / "mine" / "bad.pth") in done.stdout
    assert not cache.exists()


def test_fetch_refuses_other_bytes(cache: Path) -> None:
    done = runner.invoke(app, ["fetch", "--all"])
    assert done.exit_code == 1
    assert (cache / "good.pth").is_file() and not (cache / "bad.pth").exists()
    assert "bad: " in done.output and "wrong content" in done.output
    assert "local: the manifest has no address" in done.output.replace("weights local", "local")


def test_damage_is_found(cache: Path) -> None:
    runner.invoke(app, ["fetch", "good"])
    (cache / "good.pth").write_bytes(CONTENT[:-1] + b"x")
    done = runner.invoke(app, ["verify"])
    assert done.exit_code == 1 and "not the right bytes" in done.output
    assert runner.invoke(app, ["path", "good"]).exit_code == 1
    assert runner.invoke(app, ["fetch", "good"]).exit_code == 0  # replaced
    assert (cache / "good.pth").read_bytes() == CONTENT


def test_unknown_names(cache: Path) -> None:
    done = runner.invoke(app, ["path", "goood"])
    assert done.exit_code == 2 and "did you mean 'good'" in done.output
    assert runner.invoke(app, ["fetch"]).exit_code == 2


def test_a_broken_manifest_is_named(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.yaml").write_text("weights: {good: {files: []}}")
    with pytest.raises(MetricError, match=r"weights\.yaml"):
        weights.manifest()
    (tmp_path / "weights.yaml").write_text("weights: {a: {files: [{file: ../../etc/passwd}]}}")
    with pytest.raises(MetricError, match=r"weights\.yaml"):
        weights.manifest()


def test_every_lpips_metric_has_its_weights() -> None:
    from splatbench.metrics import REGISTRY

    assert {m.weights for m in REGISTRY.values() if m.weights} == set(weights.manifest())
    assert all(entry.download for entry in weights.manifest().values())
