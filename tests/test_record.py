from __future__ import annotations

import pytest
from pydantic import ValidationError

from splatbench.record import Record, read_records, write_records


def record(**fields):
    return Record(**({"experiment": "e", "dataset": "d", "image": "i", "entry": "x", "method": "m"} | fields))


def test_round_trip_and_equal_bytes(tmp_path):
    records = [
        record(metrics={"psnr": 30.123456789, "lpips_vgg": None}, metrics_not_run={"lpips_vgg": "no weights"}),
        record(image="ü<script>", status="diverged", reason="loss became nan"),
        record(curve=[(1, 0.01, {"psnr": 9.3}), (800, 3.5, {"psnr": 28.5})]),
    ]
    write_records(tmp_path / "a.jsonl", records)
    write_records(tmp_path / "b.jsonl", list(read_records(tmp_path / "a.jsonl")))
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert list(read_records(tmp_path / "a.jsonl")) == records


def test_no_records_is_an_empty_file(tmp_path):
    write_records(tmp_path / "a.jsonl", [])
    assert (tmp_path / "a.jsonl").read_bytes() == b""
    assert list(read_records(tmp_path / "a.jsonl")) == []


def test_a_broken_line_is_named(tmp_path):
    write_records(tmp_path / "a.jsonl", [record()])
    with open(tmp_path / "a.jsonl", "a") as file:
        file.write('{"experiment": "e", "unknown": 1}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2"):
        list(read_records(tmp_path / "a.jsonl"))


def test_nan_never_reaches_a_file(tmp_path):
    with pytest.raises(ValueError):
        write_records(tmp_path / "a.jsonl", [record(metrics={"psnr": float("nan")})])
    assert not (tmp_path / "a.jsonl").exists()


def test_unknown_status_or_field_is_refused():
    with pytest.raises(ValidationError):
        record(status="fine")
    with pytest.raises(ValidationError):
        record(psnr=3)


def test_key_tells_measurements_apart():
    keys = {record(**f).key for f in [{}, {"image": "j"}, {"seed": 2}, {"snapshot": "600"}, {"config_hash": "a"}]}
    assert len(keys) == 5
