"""Results that lie in files, as an experiment: rows without a time, reasons where there is no result."""

from __future__ import annotations

import html
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from splatbench.exchange import write_npz
from splatbench.gaussians import Gaussians2D
from splatbench.method import MethodError, get_method
from splatbench.record import Record, read_records
from splatbench.report.build import build as build_report
from splatbench.report.settings import ReportSettings
from splatbench.results import plausible, stale
from splatbench.results.stale import staleness
from splatbench.runner.collect import collect
from splatbench.runner.encode import encode_shard
from splatbench.runner.evaluate import evaluate_shard
from splatbench.runner.plan import Plan
from splatbench.runner.progress import Reporter
from splatbench.site.build import build as build_site

WIDTHS = (32, 40, 48, 56)
HEIGHT = 24


def made_for(width: int, height: int = HEIGHT, channels: int = 3) -> Gaussians2D:
    rng = np.random.default_rng(width)
    tensor = lambda values: torch.from_numpy(values.astype(np.float32))  # noqa: E731
    return Gaussians2D(
        means=tensor(rng.random((50, 2)) * [width, height]),
        colors=tensor(rng.random((50, channels))),
        scales=tensor(rng.uniform(1, 5, (50, 2))),
        angles=tensor(rng.random(50)),
        size=(height, width),
    )


@pytest.fixture
def project(tmp_path: Path, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures w32 to w56; a result of w32 as arrays, of w40 as a .s2d file of another method, none of w48, and of w56
    one for another picture."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for width in WIDTHS:
        crop = np.ascontiguousarray(photograph[100 : 100 + HEIGHT, 100 : 100 + width])
        Image.fromarray(crop).save(tmp_path / "pictures" / f"w{width}.png")
    told = {"method": "Their <b>method</b>", "source": "v1", "encode_seconds": 3.5, "nominal_bits": 2800, "seed": 4}
    write_npz(tmp_path / "made" / "w32.npz", made_for(32), **told)
    write_npz(tmp_path / "made" / "w56.npz", made_for(99))
    return tmp_path


def experiment(project: Path, pattern: str = "made/{image}.npz", **entry: object) -> Plan:
    theirs = {"id": "theirs", "title": "Theirs", "family": "Theirs", "method": "external", "implementation": "official"}
    theirs |= {"config": {"files": pattern}, "budgets": [{"native": True}]} | entry
    values = {"name": "tiny", "datasets": [{"folder": "pictures"}], "metrics": ["psnr"], "controls": False}
    path = project / "tiny.yaml"
    path.write_text(yaml.safe_dump(values | {"entries": [theirs]}))
    return Plan.load(path)


def run(plan: Plan) -> dict[str, Record]:
    for shard in plan.ordered_shards():
        encode_shard(plan, shard, Reporter("test", stream=io.StringIO()))
        evaluate_shard(plan, shard, Reporter("test", stream=io.StringIO()))
    return {record.image: record for record in collect(plan)}


def test_each_picture_has_its_row(project):
    rows = run(experiment(project))
    done, lacking, other = rows["w32"], rows["w48"], rows["w56"]
    assert (done.status, done.n_actual, done.implementation, done.method) == ("ok", 50, "official", "external")
    assert done.metrics["psnr"] is not None and done.bytes and done.nominal_bpp == 2800 / (32 * HEIGHT)
    assert done.encode_seconds is done.to_bytes_seconds is done.peak_memory_mib is done.energy_joules is None
    assert done.encode_seconds_all == done.curve == [] and done.stage_seconds == {}
    assert done.provenance.device == "elsewhere" and done.decode_seconds
    assert "encode time as told by the file, not measured here: 3.5 s" in done.notes
    assert "made elsewhere by Their <b>method</b> (v1)" in done.notes
    assert lacking.status == "not_run" and "made/w48.npz is not there" in str(lacking.reason)
    assert other.status == "failed" and str(other.reason).startswith("made/w56.npz: the file is for a picture of 99x24")
    assert not list(plausible.of_record(done))
    ours = done.model_copy(update={"implementation": "ours"})
    assert [f.text for f in plausible.of_record(ours)] == ["status 'ok' without encode_seconds"]


def test_a_second_run_reads_nothing_again(project):
    plan = experiment(project)
    run(plan)
    (shard,) = plan.ordered_shards()
    summary = encode_shard(plan, shard, Reporter("test", stream=io.StringIO()))
    assert (summary.kept, summary.done) == (2, 2)  # rows without a file are tried again


def test_files_of_other_methods_stay_as_they_are(project):
    kind = get_method("random_gaussians")
    data = kind(kind.make_config({})).to_bytes(made_for(40))
    (project / "made" / "w40.s2d").write_bytes(data)
    plan = experiment(project, "made/{image}.s2d")
    row = run(plan)["w40"]
    assert (row.status, row.n_actual, row.bytes) == ("ok", 50, len(data))
    assert (plan.root / str(row.file)).read_bytes() == data
    assert "made elsewhere, a .s2d file of the method random_gaussians" in row.notes


def test_other_results_are_other_settings(project):
    """Whatever changes in the files: no row of before passes for one of now, and the site knows which is which."""
    before = experiment(project)
    old = run(before)["w32"]
    assert staleness(old) == ()
    write_npz(project / "made" / "w48.npz", made_for(48))
    after = experiment(project)
    assert before.runs[0].config_hash != after.runs[0].config_hash
    assert run(after)["w48"].status == "ok"
    stale._of_method.cache_clear()  # a process of its own
    (reason,) = staleness(old)
    assert "hold other results now" in reason
    for path in (project / "made").iterdir():
        path.unlink()
    stale._of_method.cache_clear()
    assert staleness(old) == ()  # on a machine without the files nothing is known against it


def test_a_pinned_digest_holds(project):
    plan = experiment(project, config={"files": "made/{image}.npz", "digest": "sha256:" + "0" * 64})
    row = run(plan)["w32"]
    assert row.status == "not_run" and "the configuration says sha256:0000" in str(row.reason)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"files": "made/all.npz"}, "one file for all pictures; name the picture with {image}"),
        ({"files": "made/{image}{budget}.npz"}, "names {budget}; a pattern may name {image} and {seed}"),
        ({"files": "made/{image.__class__}.npz"}, "a pattern may name"),
        ({"files": "made/{image!r}.npz"}, "a pattern may name"),
        ({"files": "made/{image:>999999999}.npz"}, "a pattern may name"),
        ({"files": "made/{image.npz"}, "is not such a pattern"),
        ({"files": "made/{image}.npz", "decoder": "container"}, "decoder"),
        ({"files": "made/{image}.npz", "image": "a"}, "for finished results"),
    ],
)
def test_settings_that_do_not_fit(config, match):
    with pytest.raises(MethodError) as raised:
        get_method("external").make_config(config)
    assert match in str(raised.value)


def test_seeds_have_files_of_their_own_and_brackets_are_names(project):
    for seed in (1, 2):
        write_npz(project / "made [v1]" / f"w32-{seed}.npz", made_for(32 if seed == 1 else 99))
    config = get_method("external").make_config({"files": "made [v1]/{image}-{seed}.npz"})
    assert config.digest.startswith("sha256:")
    rows = run(experiment(project, "made [v1]/{image}-{seed}.npz"))
    assert rows["w32"].status == "ok"


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_than_the_picture_s(project, channels):
    write_npz(project / "made" / "w32.npz", made_for(32, channels=channels))
    row = run(experiment(project))["w32"]
    assert row.status == "failed" and f"its colours have {channels} channels, the picture has 3" in str(row.reason)


def test_garbage_is_a_row(project):
    (project / "made" / "w32.npz").write_bytes(b"garbage")
    row = run(experiment(project))["w32"]
    assert row.status == "failed" and str(row.reason).startswith("made/w32.npz: not a readable .npz file")
    assert "Error" not in str(row.reason)


def test_nothing_begins_from_a_file_whose_time_is_unknown(project):
    plan = experiment(project)
    values = yaml.safe_load((project / "tiny.yaml").read_text())
    warm = {"id": "warm", "title": "Warm", "family": "Warm", "method": "gaussianimage"}
    warm["budgets"] = [{"matched_to": "theirs", "warm": True, "iterations": 1}]
    (project / "tiny.yaml").write_text(yaml.safe_dump(values | {"entries": [*values["entries"], warm]}))
    plan = Plan.load(project / "tiny.yaml")
    run(plan)
    rows = {record.image: record for record in collect(plan) if record.entry == "warm"}
    assert rows["w32"].status == "not_run" and "encode time nobody here has measured" in str(rows["w32"].reason)


def test_report_and_site_show_a_dash_and_escape_what_files_say(project):
    plan = experiment(project)
    run(plan)
    records = list(read_records(plan.records))
    ours = {"entry": "b", "family": "B", "config_hash": "0" * 8, "implementation": "ours", "column": "ours"}
    timed = records[0].model_copy(update=ours | {"encode_seconds": 2.0, "encode_seconds_all": [2.0]})
    build_report([*records, timed], ReportSettings(), project / "report")
    page = (project / "report" / "index.html").read_text()
    assert "<b>method</b>" not in page and "authors' code" in html.unescape(page)
    build_site([*records, timed], project / "site")
    board = (project / "site" / "data" / "board.js").read_text()
    assert "<b>" not in board
    data = json.loads(board[board.index("{") : board.rindex("}") + 1])
    place = data["numbers"].index("encode_seconds")
    shown = {row["family"]: (row["column"], row["means"][place]) for row in data["rows"]}
    assert shown == {"Theirs": ("official", None), "B": ("ours", 2)}
    assert data["columnTitles"]["official"] == "authors' code"
