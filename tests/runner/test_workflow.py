"""What the Snakefile asks Python for: the experiment file, options, open markers, the overhead."""

from __future__ import annotations

from pathlib import Path

import pytest

from splatbench.experiment import ExperimentError, read_yaml
from splatbench.runner.encode import encode_shard
from splatbench.runner.evaluate import evaluate_shard
from splatbench.runner.workflow import Workflow


@pytest.fixture
def flow(write_experiment, settings):
    """A Workflow on the tiny experiment, with what `--config` gives."""

    def make(**options):
        path = write_experiment(settings)
        return Workflow([str(path)], read_yaml(path) | options, Path("unused.yaml"))

    return make


def _run(flow, reporter):
    for shard in flow.plan.shards.values():
        encode_shard(flow.plan, shard, reporter)
        evaluate_shard(flow.plan, shard, reporter)


def _again(flow):
    """Of each marker, in order, whether Snakemake is to make it again; none is ever removed."""
    plan, shards = flow.plan, flow.plan.shards.values()
    markers = [marker for shard in shards for marker in (plan.encode_marker(shard), plan.evaluate_marker(shard))]
    assert all(marker.exists() for marker in markers)
    return [str(marker) in flow.again for marker in markers]


def test_the_default_is_used_without_a_configfile_and_never_merged(write_experiment, settings, project):
    path = write_experiment(settings)
    assert Workflow([], {}, path).plan.experiment.name == "tiny"
    other = project / "other.yaml"
    other.write_text(path.read_text().replace("name: tiny", "name: other"))
    flow = Workflow([str(other)], read_yaml(other), path)
    assert (flow.plan.experiment.name, flow.experiment_file) == ("other", other)
    with pytest.raises(ExperimentError, match="one --configfile, not 2"):
        Workflow([str(other), str(path)], read_yaml(path), path)


def test_config_on_the_command_line_is_for_options_only(flow):
    with pytest.raises(ExperimentError, match="metrics: belongs into the experiment file"):
        flow(metrics="ssim")
    with pytest.raises(ExperimentError, match="did you mean 'encode_threads'"):
        flow(encode_thread=1)


def test_threads(flow):
    assert (flow().threads("encode", 8), flow().threads("evaluate", None)) == (8, 1)
    assert flow(encode_threads=3).threads("encode", 8) == 3
    assert flow(encode_threads=3).threads("evaluate", 8) == 8


def test_finished_jobs_are_not_planned_again(flow, reporter):
    first = flow()
    _run(first, reporter)
    assert _again(flow()) == [False, False]


def test_results_removed_by_hand_are_planned_again(flow, reporter):
    first = flow()
    _run(first, reporter)
    first.plan.encoding(first.plan.runs[0], "w40").unlink()
    assert _again(flow()) == [True, False]  # evaluating follows, since its input is newer then


def test_failures_are_planned_again_only_when_asked(flow, reporter, settings):
    settings["entries"][0]["config"] = {"fail": "raise", "fail_width": 40}
    _run(flow(), reporter)
    assert _again(flow()) == [False, False]
    again = flow(retry_failed=True)
    assert _again(again)[0]
    assert again.retry.startswith(" --retry-before ") and flow().retry == ""


def test_rows_that_were_not_run_are_planned_again(flow, reporter, settings, monkeypatch):
    monkeypatch.setenv("SPLATBENCH_DATA", "")
    settings["datasets"] = [{"name": "kodak", "images": ["kodim01"]}]
    _run(flow(), reporter)
    assert _again(flow())[0]


def test_overhead_counts_only_this_run(flow, reporter, settings):
    settings["entries"][0]["config"] = {"seconds": 0.2}
    first = flow()
    assert first.overhead().startswith("nothing was encoded")
    _run(first, reporter)
    assert "6 results" in first.overhead()
    second = flow()
    second.started += 1
    assert second.overhead().startswith("nothing was encoded")


def test_shell_commands_survive_odd_paths(settings, project, monkeypatch):
    import shlex

    import yaml

    path = project / "an {odd} 'name'.yaml"
    path.write_text(yaml.safe_dump(settings))
    flow = Workflow([str(path)], read_yaml(path), path)
    words = shlex.split(flow.shell("collect --log {log:q}").format(log=_Quoted("l")))
    assert words[1:] == ["-m", "splatbench", "collect", "--log", "l", "--experiment", str(path)]


class _Quoted(str):
    """Stands for Snakemake's values, which know the format `q`."""

    def __format__(self, spec):
        return str(self)
