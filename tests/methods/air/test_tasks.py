"""AIR's phases under the trainer: what is learned, from where it starts, and that a resumed run is the same run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from splatbench.method import MethodError, get_method
from splatbench.training.config import load_config
from splatbench.training.errors import TrainingError
from splatbench.training.loop import train

TINY = {"width": 8, "blocks": 1, "pod_steps": [2, 2, 3, 3], "pod_lr": 4e-3, "milestones": [0, 2, 3, 5]}


@pytest.fixture
def run(folder):
    """run(phase, out, iterations=6, resume=False, init=None, lr=5e-3, **settings) -> the exported weights."""

    def trained(phase, out, iterations=6, resume=False, init=None, lr=5e-3, **settings):
        values = {
            "method": "air",
            "phase": phase,
            "settings": {**TINY, **settings},
            "data": {"train": "pictures", "validation": {"count": 1}},
            "size": {"policy": "crop", "side": [42, 42]},
            "batch": 2,
            "iterations": iterations,
            "optimiser": {"name": "muon", "lr": lr},
            "schedule": {"kind": "constant"},
            "clip_norm": 1.0,
            "validate_every": 3,
            "checkpoint_every": 2,
            "log_every": 1,
        }
        if init is not None:
            values["init"] = str(init)
        (folder / "phase.yaml").write_text(yaml.safe_dump(values))
        train(load_config(folder / "phase.yaml"), folder / out, resume, say=lambda line: None)
        return load_file(folder / out / "export" / "air-small.safetensors")

    return trained


def log_of(folder, key):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if key in line]


@pytest.mark.parametrize("phase", ["pod", "finetune", "quantise"])
def test_a_resumed_run_is_the_uninterrupted_one(folder, run, phase):
    """POD with a stage joining before and after the stop; the quantiser with the ranges of its first batch."""
    whole = run(phase, "whole")
    run(phase, "parts", iterations=4)
    parts = run(phase, "parts", resume=True)
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_stages_join_at_their_milestones_as_copies_of_the_one_before(folder):
    task = get_method("air").training_task(TINY, "pod")
    heads = task.trainee.network.heads
    with torch.no_grad():
        heads[0].output.weight.add_(1.0)
    seen = []
    for step in range(6):
        replaced = task.begin(step)
        seen.append(task.active)
        assert (len(replaced) > 0) == (step in (2, 3, 5))
    assert seen == [1, 1, 2, 3, 3, 4]
    assert all(torch.equal(head.output.weight, heads[0].output.weight) for head in heads)


def test_pod_leaves_stages_to_come_alone_and_learns_the_others(folder, run):
    start = get_method("air").training_task(TINY, "pod").model.state_dict()
    learned = run("pod", "out", iterations=2)
    torch.manual_seed(0)
    names = [name for name in learned if name.startswith("network.heads.3")]
    assert names and start.keys() == learned.keys()
    untouched = run("pod", "again", iterations=1)
    for name in names:
        assert torch.equal(learned[name], untouched[name]), name
    assert not torch.equal(learned["network.heads.0.output.bias"], untouched["network.heads.0.output.bias"])


def test_rendering_supervision_lowers_the_error(folder, run):
    run("finetune", "out", iterations=30, l1=0.0, ssim=0.0, log_mse=1.0)
    losses = [line["loss"] for line in log_of(folder / "out", "loss")]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.5
    scores = [line["validation"] for line in log_of(folder / "out", "validation")]
    assert scores[-1]["psnr_4"] > scores[0]["psnr_4"] + 3
    assert 1 <= scores[-1]["per_patch"] <= 4


def test_a_phase_starts_from_the_weights_of_the_one_before(folder, run):
    first = run("finetune", "first", iterations=4)
    task = get_method("air").training_task(TINY, "quantise")
    assert task.initialise(folder / "first" / "export") == ["the quantiser starts anew"]
    for name, value in first.items():
        assert torch.equal(task.model.state_dict()[name], value), name


def test_the_quantiser_starts_from_percentiles_of_the_first_batch_and_its_weights_carry_them(folder, run, part):
    run("finetune", "first", iterations=10, l1=0.0, ssim=0.0, log_mse=1.0)
    run("quantise", "second", iterations=3, lr=1e-6, init=folder / "first" / "export", l1=0.0, ssim=0.0, log_mse=1.0)
    model = part("model").load_small(folder / "second" / "export" / "air-small.safetensors")
    base, published = model.codec.base, part("quantiser").PUBLISHED
    assert base.raw_scale != published.raw_scale
    assert all(-7.1 <= low <= 0 for low in base.shift[:2])  # offsets of +-7 pixels around the centre
    assert all(0.5 <= low <= 7.5 for low in base.shift[2:4])
    scores = log_of(folder / "second", "validation")[-1]["validation"]
    assert scores["psnr_quantised"] <= scores["psnr_4"] + 0.1
    assert scores["psnr_quantised"] > scores["psnr_4"] - 3


@pytest.mark.parametrize("ranges", ["global", "per_image"])
def test_other_kinds_of_ranges_are_trained_too(folder, run, part, ranges):
    run("quantise", "out", iterations=2, ranges=ranges)
    model = part("model").load_small(folder / "out" / "export" / "air-small.safetensors")
    assert model.codec.kind == ranges


def test_training_sees_the_quantised_picture_that_a_decoder_draws(folder, part):
    """The straight-through picture of a batch is the render of the dequantised codes."""
    torch.manual_seed(2)
    task = get_method("air").training_task({**TINY, "psnr_threshold": 18.0, "ssim_threshold": None}, "quantise")
    with torch.no_grad():
        for head in task.trainee.network.heads:
            head.output.weight.normal_(std=0.3)
        batch = torch.rand(2, 3, 42, 49)
        chain = task.stages(batch)
        pictures, penalty = task._quantised(chain, batch)
    channels, stages, patches = part("channels"), part("stages"), part("patches")
    for b in range(2):
        values = task._values(chain, b)
        ranges = task.codec.ranges(values, chain[-1].prediction.summary[b])
        decoded = channels.dequantise(task.codec.quantise(values, ranges), ranges)
        centres = patches.PatchGrid(42, 49, 7).centres()
        at = torch.cat([centres[stage.chosen[b]] for stage in chain])
        one = patches.Values(*(value[None] for value in decoded))
        expected = stages.Drawing().picture(one, at, torch.ones(1, len(at), dtype=torch.bool), (42, 49))[0]
        torch.testing.assert_close(pictures[b], expected, atol=2e-4, rtol=0)
    assert penalty > 0


def test_the_published_network_trains_through_the_same_tasks(folder, part, tiny_shape, monkeypatch):
    airnet = part("network.airnet").AirNet
    monkeypatch.setattr(
        part("training.trainee"), "AirNet", lambda p, s, q, checkpointing: airnet(p, s, q, tiny_shape, checkpointing)
    )
    settings = {"network": "official", "pod_steps": [2, 2, 2, 2], "milestones": [0, 1, 2, 3]}
    pod = get_method("air").training_task(settings, "pod")
    assert {group["name"] for group in pod.parameter_groups()} >= {"base", "backbone", "patch_embedding"}
    pod.begin(0)
    batch = torch.rand(1, 3, 36, 40)
    loss, values = pod.loss(batch, 0)
    loss.backward()
    assert torch.isfinite(loss) and values["inner_last_0"] < values["inner_first_0"]
    assert len(pod.begin(1)) == len(list(pod.model.gaussian_heads[1].parameters()))
    (folder / "weights").mkdir()
    pod.export(folder / "weights")
    quantise = get_method("air").training_task(settings, "quantise")
    notes = quantise.initialise(folder / "weights")
    assert notes and all("feed_forward_gaussian_codec" in note for note in notes)
    loss, _ = quantise.loss(batch, 0)
    loss.backward()
    assert quantise.codec.base == part("quantiser").PUBLISHED


def test_a_batch_without_active_patches_is_no_error_and_teaches_nothing(folder):
    pod = get_method("air").training_task({**TINY, "ssim_threshold": None}, "pod")
    pod.begin(0)
    loss, _ = pod.loss(torch.zeros(2, 3, 21, 21), 0)
    loss.backward()
    assert not any(bool(p.grad.any()) for p in pod.model.parameters() if p.grad is not None)
    task = get_method("air").training_task({**TINY, "ssim_threshold": None}, "quantise")
    black = torch.zeros(2, 3, 21, 21)
    loss, _ = task.loss(black, 0)
    loss.backward()
    assert all(p.grad is None or not bool(p.grad.any()) for p in task.model.parameters())
    black[1] = 0.5
    loss, _ = task.loss(black, 0)
    assert task.based and torch.isfinite(loss)


def test_what_cannot_be_trained_is_said(folder):
    air = get_method("air")
    with pytest.raises(MethodError, match=r"no phase 'finetun'.*finetune"):
        air.training_task(TINY, "finetun")
    with pytest.raises(MethodError, match="milestones must start at 0"):
        air.training_task({"milestones": [1, 2, 3, 4]}, "pod")
    with pytest.raises(MethodError, match="pod_steps needs 4 values"):
        air.training_task({"pod_steps": [1, 2]}, "pod")
    (folder / "wrong.safetensors").write_bytes(b"no weights")
    with pytest.raises(TrainingError, match=r"init: .*wrong\.safetensors"):
        air.training_task(TINY, "finetune").initialise(folder / "wrong.safetensors")


def test_ranges_are_taken_over_from_exports_and_checkpoints_and_estimated_where_there_are_none(folder, run, part):
    run("quantise", "first", iterations=2, lr=1e-6)
    base = part("model").load_small(folder / "first" / "export" / "air-small.safetensors").codec.base
    for source in (folder / "first" / "export", folder / "first" / "checkpoints" / "step-000000002"):
        run("refine", source.name, iterations=1, lr=1e-6, init=source)
        later = part("model").load_small(folder / source.name / "export" / "air-small.safetensors").codec.base
        assert later == base, source
    run("finetune", "plain", iterations=1)
    run("refine", "new", iterations=1, init=folder / "plain" / "export")
    later = part("model").load_small(folder / "new" / "export" / "air-small.safetensors").codec.base
    assert later not in (base, part("quantiser").PUBLISHED)


def test_another_patch_size_starts_the_layers_anew_that_see_pixels(folder, run):
    first = run("finetune", "first", iterations=2)
    task = get_method("air").training_task({**TINY, "patch": 5}, "adapt")
    notes = task.initialise(folder / "first" / "export")
    assert [note for note in notes if "heads" in note] == [f"heads.{k}.input.weight starts anew" for k in range(4)]
    kept = task.model.state_dict()
    assert torch.equal(kept["network.heads.2.output.weight"], first["network.heads.2.output.weight"])
    with pytest.raises(TrainingError, match=r"init: .* width 8, not 16; put that into the settings"):
        get_method("air").training_task({**TINY, "width": 16}, "finetune").initialise(folder / "first" / "export")


def test_ranges_that_the_published_network_does_not_have_are_refused():
    with pytest.raises(MethodError, match="published network has adaptive ranges"):
        get_method("air").training_task({"network": "official", "ranges": "global"}, "quantise")


def test_bits_and_spans_of_the_quantiser_may_be_given(folder, run, part):
    spans = [[-4, 4], [-4, 4], [0.5, 6], [0.5, 6], [2, 4], [-0.5, 0.75], [-0.25, 0.25], [-0.25, 0.25]]
    bits = [7, 7, 6, 6, 6, 8, 6, 6]
    run("quantise", "out", iterations=1, lr=1e-7, bits=bits, spans=spans)
    codec = part("model").load_small(folder / "out" / "export" / "air-small.safetensors").codec
    assert codec.base.bits == tuple(bits)
    steps = np.log1p(np.exp(codec.base.raw_scale))
    np.testing.assert_allclose(codec.base.shift, [low for low, _ in spans])
    np.testing.assert_allclose(codec.base.shift + steps * (2.0 ** np.array(bits) - 1), [high for _, high in spans])
    with pytest.raises(MethodError, match="rise and be finite|one per channel"):
        get_method("air").training_task({**TINY, "spans": spans[:3]}, "quantise")
