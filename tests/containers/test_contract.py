"""The file contract end to end: whatever a program does, its picture gets a row that says so, and the others stay."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from contract_rows import BAD, GOOD, Rows, entry, hostile

#: Mode of fixtures/hostile.py -> limits that differ, status, and what the reason must say.
MISBEHAVIOUR: dict[str, tuple[dict, str, str]] = {
    "sleeps": ({"seconds": 5}, "failed", "the time limit of 5 s passed"),
    "eats_memory": ({}, "out_of_memory", "the memory limit of 400 MiB was reached"),
    "forks": ({}, "failed", "it started more than the 40 processes that are allowed"),
    "garbage": ({}, "failed", "gaussians.npz: "),
    "garbage_s2d": ({}, "failed", "the file cannot be decoded: "),
    "empty_npz": ({}, "failed", "gaussians.npz: the file does not say what its numbers mean: 'facts' is missing"),
    "empty_file": ({}, "failed", "encoding.s2d is empty"),
    "too_many": ({}, "failed", "gaussians.npz: it holds 21 Gaussians, the budget allows 20"),
    "not_finite": ({}, "failed", "gaussians.npz: "),
    "wrong_size": ({}, "failed", "gaussians.npz: the file is for a picture of 8x8 pixels"),
    "link": ({}, "failed", "encoding.s2d is a link; a plain file is expected"),
    "fifo": ({}, "failed", "gaussians.npz is a FIFO; a plain file is expected"),
    "folder": ({}, "failed", "gaussians.npz is a folder; a plain file is expected"),
    "locked_folder": ({}, "failed", "without an answer"),
    "silent": ({}, "failed", "it ended without an answer: none of gaussians.npz, gaussians.safetensors"),
    "floods": ({}, "failed", "exit code 1: flooded"),
    "control_characters": ({}, "failed", "exit code 1: <script>alert(1)</script> end"),
    "told_markup": ({}, "diverged", "[31m<img src=x onerror=alert(1)> yyyyy"),
    "told_missing": ({}, "not_run", "needs the weights in /weights"),
    "told_nonsense": ({}, "failed", "error.json cannot be read: "),
    "both": ({}, "failed", "it gave more than one answer: gaussians.npz, encoding.s2d"),
    "dies": ({}, "failed", "exit code "),
    "undecided": ({}, "failed", "it wrote payload.bin; with `decoder: gaussians` the answer is gaussians.npz"),
    "wrong_picture": ({}, "failed", "the file holds 8x8 pixels, the picture has 40x24"),
    "huge_header": ({}, "failed", "the decoder: 'picture.npy' says uint8 [1000000, 1000000, 3], but 0 bytes follow"),
    "garbage_picture": ({}, "failed", "not a valid PNG file"),
    "decoder_sleeps": ({"seconds": 4}, "failed", "the decoder: the time limit of 4 s passed"),
    "decoder_link": ({}, "failed", "the decoder: picture.npy is a link; a plain file is expected"),
}
#: Sparse and endless files are two ways to the same limit.
OUTPUT = ("sparse", "endless")


#: Those that are tried beside a picture that is encoded well; the others have a run of their own, for speed.
BESIDE = ("sleeps", "eats_memory", "link", "told_missing", "huge_header")


@pytest.fixture(scope="module")
def temporary(tmp_path_factory) -> Path:
    """Where this process puts temporary files while the rows are made."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def rows(tmp_path_factory, photograph, temporary) -> Rows:
    """The second picture of every mode."""
    alone = [mode for mode in MISBEHAVIOUR if mode not in BESIDE]
    entries = [entry(mode, hostile(mode, MISBEHAVIOUR[mode][0])) for mode in alone]
    entries += [entry(mode, hostile(mode)) for mode in OUTPUT]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(temporary))
        return Rows(tmp_path_factory.mktemp("alone"), photograph, entries, widths=(BAD,)).run()


@pytest.fixture(scope="module")
def beside(tmp_path_factory, photograph) -> Rows:
    """Both pictures of some modes; each mode is a shard."""
    entries = [entry(mode, hostile(mode, MISBEHAVIOUR[mode][0])) for mode in BESIDE]
    return Rows(tmp_path_factory.mktemp("beside"), photograph, entries).run()


@pytest.mark.parametrize("mode", MISBEHAVIOUR)
def test_each_misbehaviour_has_its_row(rows, beside, mode):
    _, status, reason = MISBEHAVIOUR[mode]
    bad = (beside if mode in BESIDE else rows).of(mode, BAD)
    assert bad.status == status and reason in bad.reason, bad.reason
    assert bad.reason.isprintable() and len(bad.reason) < 400
    assert bad.container is not None and f"hostile.py {mode} " in bad.container.name, "also what failed names what ran"


@pytest.mark.parametrize("mode", BESIDE)
def test_the_other_picture_of_the_shard_has_its_result(beside, mode):
    good = beside.of(mode, GOOD)
    assert (good.status, good.reason) == ("ok", None)
    assert good.metrics["psnr"] > 3 and good.encode_seconds > 0 and good.decode_seconds > 0


@pytest.mark.parametrize("mode", OUTPUT)
def test_files_beyond_the_limit(rows, mode):
    bad = rows.of(mode, BAD)
    assert bad.status == "failed"
    assert "more than the 32 MiB" in bad.reason or "File too large" in bad.reason, bad.reason


def test_rows_name_what_ran(beside):
    record = beside.of("link", GOOD)
    assert record.implementation == "external"
    assert record.container.engine == "process" and "hostile.py link" in record.container.name
    assert record.n_actual == 10 and record.peak_memory_mib > 1


def test_nothing_is_left_behind(rows, temporary):
    assert rows.records and list(temporary.iterdir()) == []
