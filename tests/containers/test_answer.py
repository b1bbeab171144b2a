"""Answers read as hostile files: what is never opened, what is refused, what becomes of texts."""

from __future__ import annotations

import io
import json
import os
import random
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splatbench.containers.answer import (
    MAX_TEXT,
    NoAnswer,
    array_picture,
    check_end,
    clean,
    read_encoding,
    read_regular,
    read_report,
)
from splatbench.containers.marks import Marks
from splatbench.containers.task import Ended, Limits


@given(st.text(max_size=3000))
def test_cleaned_text_is_one_printable_line(text):
    line = clean(text)
    assert line.isprintable() and len(line) <= MAX_TEXT and line == line.strip() and "  " not in line
    assert clean(line) == line


def test_cleaning_keeps_what_can_be_read():
    assert clean("  Größe:\t12 µm\n<b>\u202e\x1b[31mx") == "Größe: 12 µm <b> [31mx"
    assert clean("x" * 1000) == "x" * (MAX_TEXT - 1) + "…"


def test_only_plain_files_are_read(tmp_path):
    (tmp_path / "plain").write_bytes(b"1234")
    (tmp_path / "link").symlink_to("plain")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    assert read_regular(tmp_path, "plain", 4) == b"1234"
    assert read_regular(tmp_path, "nothing", 4) is None
    begin = time.perf_counter()
    for name, kind in {"link": "a link", "loop": "a link", "folder": "a folder", "fifo": "a FIFO"}.items():
        with pytest.raises(NoAnswer, match=f"^{name} is {kind}; a plain file is expected$"):
            read_regular(tmp_path, name, 4)
    with pytest.raises(NoAnswer, match="plain has 4 bytes, 3 are allowed"):
        read_regular(tmp_path, "plain", 3)
    assert time.perf_counter() - begin < 5  # none of them waited


def test_a_device_is_not_read():
    from pathlib import Path

    with pytest.raises(NoAnswer, match="zero is a device"):
        read_regular(Path("/dev"), "zero", 10)


def test_a_name_that_is_a_dead_link_is_an_answer_of_the_wrong_kind(tmp_path):
    (tmp_path / "encoding.s2d").symlink_to("nowhere")
    with pytest.raises(NoAnswer, match=r"encoding\.s2d is a link"):
        read_encoding(tmp_path, "gaussians", Limits())


@pytest.mark.parametrize(
    ("ending", "code", "status", "reason"),
    [
        ("timeout", None, "failed", "the time limit of 3600 s passed: last"),
        ("memory", None, "out_of_memory", "the memory limit of 8192 MiB was reached: last"),
        ("output", None, "failed", "it wrote more than the 1024 MiB that are allowed: last"),
        ("pids", None, "failed", "it started more than the 256 processes that are allowed: last"),
        ("stopped", None, "failed", "it was stopped by the harness"),
        ("exited", 3, "failed", "exit code 3: last"),
    ],
)
def test_ends(tmp_path, ending, code, status, reason):
    with pytest.raises(NoAnswer) as caught:
        check_end(Ended(ending, code, "first\nlast\n \n", 1.0), tmp_path, Limits())
    assert (caught.value.status, str(caught.value)) == (status, reason)


def test_what_a_program_tells_goes_before_its_exit_code_but_not_before_a_limit(tmp_path):
    (tmp_path / "error.json").write_text(json.dumps({"status": "diverged", "reason": "NaN at step 3"}))
    for code in (0, 1):
        with pytest.raises(NoAnswer, match="NaN at step 3") as caught:
            check_end(Ended("exited", code, "", 1.0), tmp_path, Limits())
        assert caught.value.status == "diverged"
    with pytest.raises(NoAnswer, match="time limit"):
        check_end(Ended("timeout", None, "", 1.0), tmp_path, Limits())


@pytest.mark.parametrize(
    "content",
    [b"", b"[" * 100000, b"{}", b'{"status": "ok", "reason": "x"}', b'{"status": "failed", "reason": ""}', b"\xff\xfe",
     b'{"status": "failed", "reason": "x", "more": 1}', b" " * (1 << 20) + b"{}"],
)  # fmt: skip
def test_an_error_that_cannot_be_read_is_an_error(tmp_path, content):
    (tmp_path / "error.json").write_bytes(content)
    with pytest.raises(NoAnswer, match=r"^error\.json cannot be read: ") as caught:
        check_end(Ended("exited", 0, "", 1.0), tmp_path, Limits())
    assert caught.value.status == "failed" and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "content", [b"[]", b"{" * 99, b'{"seconds": NaN}', b'{"seconds": -1}', b'{"nominal_bits": 1e99}', b'{"note": []}']
)
def test_a_report_that_cannot_be_read_costs_a_note(tmp_path, content):
    (tmp_path / "report.json").write_bytes(content)
    report, notes = read_report(tmp_path)
    assert report.nominal_bits is None and len(notes) == 1 and notes[0].startswith("report.json cannot be read: ")


def test_many_notes_are_cut(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({"notes": [f"note {i}" for i in range(25)]}))
    notes = read_report(tmp_path)[1]
    assert notes == [*(f"note {i}" for i in range(10)), "15 more notes were left out"]


def npy(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, pixels)
    return file.getvalue()


def test_pictures_as_arrays():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    for good in (pixels, np.asfortranarray(pixels)):
        assert np.array_equal(array_picture(npy(good)), pixels)
    for bad in (pixels[..., 0], pixels.astype(np.float32), pixels[:0], pixels[..., :2]):
        with pytest.raises(ValueError, match=r"picture\.npy holds"):
            array_picture(npy(bad))
    objects = io.BytesIO()
    np.save(objects, np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="elements of type object"):
        array_picture(objects.getvalue())


def test_damaged_arrays_are_refused_or_pictures():
    whole, chance = npy(np.zeros((5, 6, 3), np.uint8)), random.Random(1)
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(140)] = chance.randrange(256)
        data = data[: chance.randint(0, len(data))] if chance.random() < 0.2 else data
        try:
            picture = array_picture(bytes(data))
        except ValueError:
            continue
        assert picture.dtype == np.uint8 and picture.shape[2] == 3 and picture.size == 90


def test_marks_are_seen_in_their_order(tmp_path):
    marks = Marks(tmp_path, "started", "finished")
    (tmp_path / "finished").symlink_to("nowhere")  # whatever bears the name is a mark
    marks.look()
    assert not marks.complete  # an end without a beginning is none
    (tmp_path / "started").mkdir()
    marks.look()
    assert marks.complete and marks.seconds >= 0
    first = marks.seconds
    marks.look()
    assert marks.seconds == first
