"""The chain: additivity, counts, and what each stage sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def stages(part):
    return part("stages")


@pytest.fixture(scope="session")
def network(part):
    """Seeded random weights, the last layers strong enough to draw something."""
    small = part("network.small")
    torch.manual_seed(5)
    net = small.SmallNetwork(small.SmallSettings(width=16, blocks=1, sees_features=True, sees_target=True)).eval()
    with torch.no_grad():
        for head in net.heads:
            head.output.weight.normal_(std=0.5)
    return net


@pytest.fixture(scope="session")
def target():
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(2, 3, 6, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (45, 61), mode="bilinear")


def run(module, part, network, target, control=None, drawing=None, **options):
    with torch.no_grad():
        control = control or part("control").StageControl(None, None)
        return list(module.run_stages(network, target, control, drawing or module.Drawing(), **options))


def test_the_picture_of_all_gaussians_is_the_sum_of_the_stages(stages, part, network, target):
    chain = run(stages, part, network, target, part("control").StageControl(5.0, None))
    grid = part("patches").PatchGrid(45, 61, 7)
    raw = torch.cat([stage.prediction.raw for stage in chain], 1)
    masks = torch.cat([stage.chosen for stage in chain], 1)
    assert not masks.all()
    values = part("patches").activate(raw, 7)
    whole = stages.Drawing().picture(values, grid.centres().repeat(len(chain), 1), masks, (45, 61))
    np.testing.assert_allclose(whole, chain[-1].picture, atol=1e-5)


def test_a_stage_sees_the_target_minus_what_is_drawn(stages, part, network, target, monkeypatch):
    seen = []
    predict = network.predict
    monkeypatch.setattr(
        network, "predict", lambda s, residual, t, c: seen.append(residual) or predict(s, residual, t, c)
    )
    chain = run(stages, part, network, target)
    for residual, stage in zip(seen, chain, strict=True):
        torch.testing.assert_close(residual, target - stage.before)
    torch.testing.assert_close(chain[1].before, chain[0].picture)


def test_the_same_input_gives_the_same_bits(stages, part, network, target):
    first, second = (run(stages, part, network, target) for _ in range(2))
    assert torch.equal(first[-1].picture, second[-1].picture)


def test_a_picture_of_a_batch_does_not_depend_on_its_neighbours(stages, part, network, target):
    control = part("control").StageControl(25.0, 0.9)
    both = run(stages, part, network, target, control)
    alone = run(stages, part, network, target[1:], control)
    torch.testing.assert_close(both[-1].picture[1:], alone[-1].picture, atol=1e-4, rtol=0)


def test_a_patch_gets_a_gaussian_exactly_where_it_is_not_good_enough_yet(stages, part, network, target):
    control, grid = part("control").StageControl(5.0, None), part("patches").PatchGrid(45, 61, 7)
    chain = run(stages, part, network, target, control)
    for stage in chain:
        error = (stage.before - target).square().mean(1, keepdim=True)
        mse = grid.blocks(error).mean((1, 3))
        assert torch.equal(stage.chosen, mse > 10**-0.5)
    assert any(0 < stage.chosen.sum() < stage.chosen.numel() for stage in chain)


def test_without_criteria_every_stage_takes_every_patch(stages, part, network, target):
    chain = run(stages, part, network, target)
    assert len(chain) == 4 and all(bool(stage.chosen.all()) for stage in chain)


def test_no_stage_runs_once_the_target_is_met(stages, part, network, target):
    easy = part("control").StageControl(psnr=-100.0, ssim=None)
    assert run(stages, part, network, target, easy) == []
    assert len(run(stages, part, network, target, part("control").StageControl(), stages=2)) == 2


def test_detached_stages_get_no_gradient_from_later_ones(stages, part, network, target):
    control = part("control").StageControl(None, None)
    for detach in (False, True):
        chain = list(stages.run_stages(network, target, control, stages.Drawing(), detach=detach))
        network.zero_grad()
        (chain[1].picture - target).square().mean().backward()
        reached = network.heads[0].output.weight.grad is not None and bool(network.heads[0].output.weight.grad.any())
        assert reached is not detach


def test_the_cap_of_256_per_tile_leaves_out_late_stages(stages, part):
    """Patches of 2 pixels: 64 Gaussians and their neighbours in a tile of 16 x 16, so the fourth stage falls out."""
    small = part("network.small")
    torch.manual_seed(5)
    net = small.SmallNetwork(small.SmallSettings(patch=2, width=8, blocks=1)).eval()
    with torch.no_grad():
        for head in net.heads:
            head.output.bias[5:] = 0.2
    target = torch.rand(1, 3, 48, 48)
    capped = stages.Drawing(compat=frozenset({"tiles_3sigma", "tile_cap_256"}))
    plain = stages.Drawing(compat=frozenset({"tiles_3sigma"}))
    few = run(stages, part, net, target, drawing=capped)
    everything = run(stages, part, net, target, drawing=plain)
    inner = (slice(None), slice(None), slice(16, 32), slice(16, 32))
    assert (everything[3].picture - everything[2].picture)[inner].abs().max() > 0.1
    assert torch.equal(few[3].picture[inner], few[2].picture[inner])
    torch.testing.assert_close(few[0].picture, everything[0].picture, atol=1e-5, rtol=0)


def test_a_shared_head_is_one_set_of_weights_told_apart_by_an_embedding(stages, part, target):
    small = part("network.small")
    torch.manual_seed(1)
    net = small.SmallNetwork(small.SmallSettings(width=16, blocks=1, shared=True)).eval()
    with torch.no_grad():
        net.heads[0].output.weight.normal_(std=0.5)
        first = net.predict(1, target, target, None).raw
        assert torch.equal(first, net.predict(1, target, target, None).raw)
        net.embedding[2] += 1.0
        assert torch.equal(first, net.predict(1, target, target, None).raw)
        net.embedding[1] += 1.0
        assert not torch.equal(first, net.predict(1, target, target, None).raw)
    assert len(net.heads) == 1
