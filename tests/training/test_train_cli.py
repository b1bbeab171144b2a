"""`splatbench train`, as a user types it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import yaml

from splatbench.cli import main
from splatbench.training.checkpoint import list_checkpoints


@pytest.fixture
def splatbench(monkeypatch, capsys):
    """splatbench("train.yaml", ...): exit code, standard output, standard error; in this process."""

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["splatbench", "train", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return called


def test_from_the_file_to_the_weights(folder, settings, splatbench):
    (folder / "train.yaml").write_text(yaml.safe_dump(settings))
    code, out, err = splatbench("train.yaml", "--out", "out", "-i", "3", "--set", "batch=1")
    assert code == 0, err
    assert "learner first: 1558 parameters, " in out and "1 x cpu, 32-true" in out
    assert "step 3: loss " in out and "done: out/export" in out
    assert (folder / "out" / "export" / "model.safetensors").is_file()
    resolved = yaml.safe_load((folder / "out" / "config.yaml").read_text())
    assert (resolved["iterations"], resolved["batch"], resolved["max_skipped"]) == (3, 1, 20)
    code, out, err = splatbench("train.yaml", "--out", "out", "-i", "5", "--set", "batch=1")
    assert (code, err[:10]) == (1, "splatbench") and "holds a run of 3 steps: go on with --resume" in err
    code, out, err = splatbench("train.yaml", "--out", "out", "-i", "5", "--set", "batch=1", "--resume")
    assert code == 0 and "after step 3" in out and "step 5: loss" in out


def test_faults_are_sentences(folder, settings, splatbench):
    (folder / "train.yaml").write_text(yaml.safe_dump(settings | {"batches": 3}))
    code, _, err = splatbench("train.yaml", "--out", "out")
    assert code == 1
    assert err.startswith("splatbench: train.yaml: batches: unknown key 'batches'; did you mean 'batch'")
    assert splatbench("train.yaml")[0] == 2  # --out is missing
    assert not (folder / "out").exists()


def test_a_signal_to_all_processes_writes_a_checkpoint(folder, settings):
    """As Ctrl-C does it: the process that loads pictures gets the signal, too, and has to go on."""
    settings["data"] |= {"workers": 1}
    settings["accumulate"] = 40  # batches that the step under way still needs
    (folder / "train.yaml").write_text(yaml.safe_dump(settings | {"iterations": 10**6, "log_every": 1}))
    arguments = [sys.executable, "-m", "splatbench", "train", "train.yaml", "--out", "out", "--threads", "1"]
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step "):
                break
        os.killpg(process.pid, signal.SIGINT)
        rest, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGINT, errors
    steps = int(list_checkpoints(folder / "out")[-1].name[5:])
    assert f"stopped after step {steps}; the same command with --resume goes on from there" in rest
