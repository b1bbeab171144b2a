"""Validation finds each thing that is wrong, and nothing in records that are right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splatbench.budget import Budget
from splatbench.metrics import REGISTRY, evaluate
from splatbench.record import Record, to_line
from splatbench.results import across, check, history
from splatbench.results.findings import Finding, Place, Problem, listing
from splatbench.results.quality import of_metrics
from tests.results.changes import changed

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"


def findings(*paths: Path) -> list[Finding]:
    return [problem.finding for problem in check.check(paths).problems]


def errors(*paths: Path) -> list[tuple[str, str]]:
    return [(finding.kind, finding.text) for finding in findings(*paths) if not finding.warning]


def test_good_records_are_good(good, write):
    checked = check.check([write(good)])
    assert (checked.records, checked.problems) == (400, [])


def test_the_published_records_have_no_errors():
    checked = check.check([PUBLISHED])
    assert checked.errors == 0, "\n".join(listing(checked.problems))
    assert checked.records > 2000


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"bpp": 3.0}, "rate", "bytes for 768x512 pixels are"),
        ({"bytes": None, "bpp": None}, "rate", "without bytes, bpp"),
        ({"bytes": -5}, "number", "bytes is -5"),
        ({"height": 0}, "number", "height is 0"),
        ({"peak_memory_mib": -1.0}, "number", "peak_memory_mib is -1.0"),
        ({"metrics__ms_ssim": 1.2}, "metric", "ms_ssim is 1.2, outside of its range 0 to 1"),
        ({"metrics__psnr": 101.0}, "metric", "outside of its range 0 to 100"),
        ({"metrics__psnr": -1e9}, "metric", "outside of its range 0 to 100"),
        ({"metrics__psnr_u8": 20.0}, "metric", "more than rounding to 8 bits"),
        ({"metrics__lpips_alex": 0.0}, "metric", "lpips_alex is 0, as of an exact copy, but psnr"),
        ({"metrics__flip": 0.0}, "metric", "flip is 0, as of an exact copy, but psnr"),
        ({"metrics__ssim": 1.0}, "metric", "ssim is 1, as of an exact copy, but psnr"),
        ({"metrics__ms_ssim": 1.0}, "metric", "ms_ssim is 1, as of an exact copy, but psnr"),
        ({"metrics__psnr": 100.0, "metrics__psnr_u8": 100.0}, "metric", "of an exact copy, but ssim is 0."),
        ({"metrics__psnrr": 20.0}, "metric", "unknown metric 'psnrr'"),
        ({"metrics__lpips_vgg": None}, "metric", "lpips_vgg is null"),
        ({"metrics": {}}, "metric", "without the value of any metric"),
        ({"encode_seconds": None, "encode_seconds_all": []}, "time", "without encode_seconds"),
        ({"encode_seconds_all": [1.0, 2.0, 4000.0]}, "time", "the median"),
        ({"decode_seconds": 0.0}, "time", "decode_seconds is 0.0"),
        ({"stage_seconds": {"fit": 1e4}}, "time", "the stages take 10000.00 s"),
        ({"curve": [(2, 1.0, {}), (1, 2.0, {})]}, "curve", "goes back in time"),
        ({"curve": [(1, 2.0, {}), (2, 1.0, {})]}, "curve", "goes back in time"),
        ({"n_actual": 0}, "count", "n_actual is 0"),
        ({"n_target": 9999}, "count", "n_target is 9999, but the budget n10000-i2000 means 10000"),
        ({"budget": {"gaussians": 10_000}}, "budget", "the budget's name is 'n10000'"),
        ({"budget": {"gaussians": 1, "bpp": 2.0}}, "budget", "exactly one"),
        ({"budget": {"gaussian": 1}}, "budget", "gaussian"),
        ({"matched_to": "other"}, "budget", "matched_to"),
        ({"config_hash": "xyz"}, "hash", "8 hexadecimal digits"),
        ({"file_sha256": "A" * 64}, "hash", "64 hexadecimal digits"),
        ({"pixel_sha256": None}, "hash", "pixel_sha256 missing"),
        ({"image": "a\x1b[31m"}, "name", "U+001B"),
        ({"entry": "abc\u202e"}, "name", "U+202E"),
        ({"dataset": " "}, "name", "dataset is empty"),
        ({"file": "../../x.s2d"}, "path", "leads out"),
        ({"status": "failed", "reason": " "}, "status", "without a reason"),
        ({"reason": "why"}, "status", "with a reason"),
        ({"provenance__dirty": True}, "provenance", "uncommitted changes"),
        ({"provenance__dirty": None}, "provenance", "not known whether"),
        ({"provenance__commit": "HEAD"}, "provenance", "commit is 'HEAD'"),
        ({"provenance__cpu": ""}, "provenance", "lacks cpu"),
        ({"provenance__time": "yesterday"}, "provenance", "not ISO 8601"),
        ({"provenance__time": "2026-01-01T12:00:00"}, "provenance", "no offset from UTC"),
        ({"notes": ["weights in /home/me/w.pth"]}, "path", "'/home/me/w.pth'"),
        ({"notes": ["C:\\Users\\me"]}, "path", "a path of one machine"),
        ({"reason": "see ~/log", "status": "failed"}, "path", "~/log"),
        ({"dataset": "kodak", "image": "kodim01"}, "pixels", "not the pixels that datasets/kodak.yaml names"),
        ({"dataset": "kodak", "image": "kodim99"}, "pixels", "kodak has no image 'kodim99'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(good, write, changes, kind, says):
    found = errors(write([changed(good[0], **changes)]))
    assert any(k == kind and says in text for k, text in found), found


@pytest.mark.parametrize(
    ("psnr", "name", "value", "found"),
    [
        (20.0, "ssim", 0.99, True),
        (20.0, "ssim", 0.93, False),
        (55.0, "ssim", 0.9, True),
        (55.0, "ssim", 0.99, False),
        (20.0, "ms_ssim", 0.999, True),
        (20.0, "ms_ssim", 0.97, False),
        (50.0, "ms_ssim", 0.9, True),
        (50.0, "ms_ssim", 0.999, False),
    ],
)
def test_a_similarity_far_from_its_psnr_is_remarked_on(good, write, psnr, name, value, found):
    row = changed(good[0], metrics={"psnr": psnr, name: value})
    texts = [finding.text for finding in findings(write([row])) if finding.warning]
    assert [f"{name} {value:.4f} is far from what pictures of psnr {psnr:.2f} dB have" in t for t in texts] == [
        True
    ] * found


@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("flat", [False, True])
def test_metrics_of_real_pictures_agree(good, photograph, noise, flat):
    """From an exact copy on, float32 rounding of a flat picture included."""
    original = np.full((200, 180, 3), 250, np.uint8) if flat else np.ascontiguousarray(photograph[:200, :180])
    picture = original / np.float32(255) + np.random.default_rng(0).normal(0, noise, original.shape).astype(np.float32)
    values, _ = evaluate(["psnr", "psnr_u8", "ssim", "ms_ssim"], np.clip(picture, 0, 1, dtype=np.float32), original)
    record = changed(good[0], metrics=values, column="control")
    assert list(of_metrics(record)) == []


@pytest.mark.parametrize(
    "image", ["<script>alert(1)</script>", "'; DROP TABLE", "../etc", "x" * 300, "Größe 画像", "https://a/home/b"]
)
def test_odd_names_are_names(good, write, image):
    assert errors(write([changed(good[0], image=image)])) == []


def test_a_row_that_never_ran_needs_no_provenance(good, write):
    row = next(record for record in good if record.status == "ok").model_dump(mode="json")
    kept = ("experiment", "dataset", "image", "entry", "method", "config", "config_hash", "budget", "budget_slug")
    row = {name: row[name] for name in kept}
    path = write([])
    path.write_text(json.dumps(row | {"status": "not_run", "reason": "the data are not here"}) + "\n")
    assert errors(path) == []
    path.write_text(json.dumps(row | {"status": "failed", "reason": "it broke"}) + "\n")
    assert {kind for kind, _ in errors(path)} == {"provenance"}


@pytest.mark.parametrize(
    ("line", "kind", "says"),
    [
        (b'{"experiment": "e"', "json", "not JSON"),
        (b"[1, 2]", "json", "a JSON object"),
        (b'{"a": NaN}', "json", "NaN is no number in JSON"),
        (b'{"a": -Infinity}', "json", "-Infinity is no number"),
        (b'{"a": 1e999}', "json", "more than a number can hold"),
        (b'{"a": 1' + b"0" * 400 + b"}", "json", "401 digits"),
        (b'{"a": 1, "a": 2}', "json", "'a' stands twice"),
        (b'{"a": "\xff"}', "json", "not UTF-8"),
        (b"[" * 100_000, "json", "not JSON"),
        (b'{"schema_version": 2}', "schema", "schema version 2"),
        (b'{"experiment": "e"}', "schema", "dataset: Field required"),
    ],
)
def test_broken_lines_do_not_hide_the_others(good, write, line, kind, says):
    path = write([good[0], changed(good[1], bpp=1.0)])
    first, second = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, line, b"", second]))
    problems = check.check([path]).problems
    assert [(p.place.line, p.finding.kind) for p in problems] == [(2, kind), (4, "rate")]
    assert says in problems[0].finding.text


def test_types_are_exact(good, write):
    path = write([])
    row = json.loads(to_line(good[0]))
    path.write_text(json.dumps(row | {"bytes": "225000"}) + "\n")
    assert [kind for kind, _ in errors(path)] == ["schema"]


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20)
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.sampled_from(sorted(
        {*Budget.targets(), *REGISTRY, "time", "commit", "iterations"})), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@pytest.fixture
def line(good) -> str:
    return to_line(good[0])


@given(field=st.sampled_from(sorted(Record.model_fields)), inner=st.integers(0, 20), value=_VALUES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_content_breaks_the_check(line, tmp_path, field, inner, value):
    """Any value in any field: a row that stands twice is a problem of the second line, whatever else is wrong."""
    row = json.loads(line)
    if isinstance(row[field], dict) and row[field]:
        row[field][sorted(row[field])[inner % len(row[field])]] = value
    else:
        row[field] = value
    path = tmp_path / "any.jsonl"
    path.write_text(f"{json.dumps(row)}\n{json.dumps(row, separators=(',', ':'))}\n{line}\n")
    problems = check.check([path]).problems
    assert 2 in {problem.place.line for problem in problems}
    assert all(text.isprintable() for text in listing(problems))


def test_places_without_records(tmp_path, good, write):
    with pytest.raises(ValueError, match="holds no records"):
        check.check([tmp_path])
    with pytest.raises(ValueError, match="no such file"):
        check.check([tmp_path / "absent"])
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="not a file of records"):
        check.check([tmp_path / "notes.txt"])
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n\n")
    assert errors(empty, write(good[:2])) == [("empty", "holds no record; remove it, or collect it")]


def test_a_file_that_is_named_twice_is_read_once(good, write):
    path = write(good[:3])
    checked = check.check([path, path.parent, path])
    assert (checked.records, checked.problems) == (3, [])


def test_duplicates_and_conflicts(good, write):
    path = write([good[0], good[1], good[0]])
    again = write([changed(good[1], notes=["measured again"])], "again")
    problems = check.check([path, again]).problems
    assert [(p.place.path.name, p.place.line, p.finding.kind) for p in problems] == [
        ("some.jsonl", 3, "duplicate"),
        ("again.jsonl", 1, "conflict"),
    ]
    assert "the same row as" in problems[0].finding.text
    assert f"{path}:2" in problems[1].finding.text


def test_the_same_row_in_another_spelling_is_a_duplicate(good, write):
    path = write([good[0]])
    path.write_text(path.read_text() + json.dumps(json.loads(to_line(good[0])), separators=(",", ":")) + "\n")
    assert [kind for kind, _ in errors(path)] == ["duplicate"]


def test_records_agree_on_pixels_files_and_settings(good, write):
    first = good[0]
    other = changed(first, experiment="other")
    assert errors(write([first, other])) == []
    wrong = {
        "pixels": changed(other, pixel_sha256="0" * 64, file_sha256="1" * 64),
        "file": changed(other, metrics__ms_ssim=0.5),
        "config": changed(other, config={**first.config, "iterations": 7}),
    }
    for kind, record in wrong.items():
        assert [k for k, _ in errors(write([first, record]))] == [kind]


def test_small_differences_between_machines_are_none(good, write):
    other = changed(good[0], experiment="other", metrics__ms_ssim=good[0].metrics["ms_ssim"] + 1e-6)
    assert errors(write([good[0], other])) == []


def test_hardly_believable_is_a_warning(good, write):
    sharp = changed(good[0], metrics__psnr=70.0, metrics__psnr_u8=80.0)
    assert [(f.kind, f.warning) for f in findings(write([sharp]))] == [("metric", True)]
    identity = next(record for record in good if record.entry == "identity")
    assert identity.metrics["psnr"] == 100
    assert findings(write([identity])) == []


def test_more_gaussians_that_look_worse_are_remarked_on(good):
    agreement = across.Agreement()
    for line, (count, psnr) in enumerate([(10, 30.0), (40, 29.5), (20, 31.0), (30, 30.95)], 1):
        record = changed(
            good[0], budget={"gaussians": count}, budget_slug=f"n{count}", metrics={"psnr": psnr}, file_sha256=None
        )
        assert list(agreement.add(Place(Path("a.jsonl"), line), record, to_line(record).encode())) == []
    trends = list(agreement.trends())
    assert [(t.place.line, t.finding.warning) for t in trends] == [(2, True)]
    assert "from 31.00 dB at n20 to 29.50 dB at n40" in trends[0].finding.text


def test_a_listing_is_short_and_of_plain_lines():
    path = Path("r.jsonl")
    problems = [Problem(Place(path, i), Finding("rate", f"text {i}")) for i in range(1, 14)]
    problems += [Problem(Place(path, i), Finding("stale", "old\x1b[2J\nforged: line", warning=True)) for i in (3, 5)]
    lines = list(listing(reversed(problems)))
    assert len(lines) == 12
    assert lines[0] == "error: r.jsonl:13: text 13"
    assert lines[10] == "error: ... and 3 more of this kind (rate); --all lists them"
    assert lines[11] == "warning: r.jsonl:5: old\\x1b[2J\\x0aforged: line (the same in 1 more lines)"
    assert len(list(listing(problems, shown=None))) == 14


def test_git_says_what_changed(good, write, monkeypatch):
    monkeypatch.setattr(history, "_require_history", lambda: None)
    history._changes.cache_clear()
    checked = check.check([write([good[0]])], git=True)
    assert ["not in this repository's history" in p.finding.text for p in checked.problems] == [True]
    assert checked.errors == 0
    head = history._git("rev-parse", "HEAD").stdout.strip()
    assert check.check([write([changed(good[0], provenance__commit=head)])], git=True).problems == []
    history._changes.cache_clear()
