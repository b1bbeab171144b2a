from __future__ import annotations

import pytest
import torch


@pytest.fixture
def make(part, tiny_shape):
    def build(seed=0, **settings):
        return part("network.airnet").AirNet.seeded(seed, shape=tiny_shape, **settings)

    return build


@pytest.fixture(scope="module")
def target():
    return torch.rand(2, 3, 64, 80, generator=torch.Generator().manual_seed(3))


def test_seeded_weights_depend_on_the_seed_alone(make):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = make(1).state_dict()
    torch.rand(7)
    again, other = make(1).state_dict(), make(2).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    make(3)
    torch.manual_seed(5)
    make(3)
    assert torch.equal(torch.get_rng_state(), before)  # the caller's random stream is left alone


@torch.no_grad()
def test_the_published_head_is_deterministic_from_a_seed(part):
    """98 million parameters, 64 x 80 pixels."""
    residual = torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(1))
    net = part("network.airnet").AirNet.seeded(7, heads=1, quantise=False).eval()
    first, second = net(residual, 0), net(residual, 0)
    assert torch.equal(first.raw, second.raw) and torch.equal(first.cls, second.cls)
    assert first.raw.shape == (1, 10 * 12, 8) and first.cls.shape == (1, 768)
    assert first.raw.isfinite().all() and first.raw.std(1).min() > 1e-3  # patches differ
    moved = net(residual.roll(7, 3), 0).raw.reshape(1, 10, 12, 8)
    assert (moved[:, :, 1:] - first.raw.reshape(1, 10, 12, 8)[:, :, :-1]).abs().mean() < first.raw.std()


@torch.no_grad()
def test_it_is_a_network_of_stages(make, part, target):
    """Counts never fall, stage 0 is full, every stage sees what the ones before left."""
    net, stages = make().eval(), part("stages")
    run = list(stages.run_stages(net, target, part("control").StageControl(), stages.Drawing()))
    assert len(run) == net.stages == 4 and run[0].chosen.all()
    for stage in run:
        expected = net.gaussian_heads[stage.index](target - stage.before)
        assert torch.equal(stage.prediction.raw, expected.raw)
        assert torch.equal(stage.prediction.summary, expected.cls)


def test_a_stage_starts_as_a_copy_of_the_one_before_and_then_goes_its_own_way(make):
    net = make()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    replaced = net.activate_stage(2)
    assert {id(p) for p in replaced} == {id(p) for p in net.gaussian_heads[2].parameters()}
    for name, value in net.state_dict().items():
        source = name.replace("gaussian_heads.2.", "gaussian_heads.1.")
        assert torch.equal(value, before[source]), name
    with torch.no_grad():
        net.gaussian_heads[1].gaussian_linear.bias.add_(1)
    assert not torch.equal(net.gaussian_heads[2].gaussian_linear.bias, net.gaussian_heads[1].gaussian_linear.bias)


@pytest.mark.parametrize("stage", [0, 4, -1])
def test_only_stages_after_the_first_are_activated(make, stage):
    with pytest.raises(ValueError, match=r"1\.\.3"):
        make().activate_stage(stage)


@pytest.mark.parametrize(
    ("rates", "names"),
    [
        ({}, {"base", "backbone"}),
        ({"quantiser_lr": 1e-4}, {"base", "backbone", "quantiser"}),
        ({"patch_embedding_lr": 1e-4}, {"base", "backbone", "patch_embedding"}),
    ],
)
def test_every_parameter_is_in_one_group(make, rates, names):
    net = make()
    groups = {group["name"]: group for group in net.parameter_groups(5e-6, 5e-7, **rates)}
    assert set(groups) == names
    assert groups["base"]["lr"] == 5e-6 and groups["backbone"]["lr"] == 5e-7
    of = {id(p): name for name, p in net.named_parameters()}
    members = {name: {of[id(p)] for p in group["params"]} for name, group in groups.items()}
    assert sorted(x for group in members.values() for x in group) == sorted(of.values())
    assert members["backbone"] == {name for name in of.values() if "backbone." in name}
    assert "gaussian_heads.0.encoder.output_projections.0.weight" in members["base"]
    embeddings = {f"gaussian_heads.{k}.patch_embedding.patchify.conv.weight" for k in range(4)}
    assert members.get("patch_embedding", embeddings) == embeddings
    quantiser = {name for name in of.values() if "codec" in name}
    assert len(quantiser) == 8 and members.get("quantiser", quantiser) == quantiser


def test_there_is_no_quantiser_group_without_a_quantiser(make):
    groups = make(quantise=False).parameter_groups(1e-4, 1e-5, quantiser_lr=1e-4)
    assert [group["name"] for group in groups] == ["base", "backbone"]


def test_a_network_has_a_head(make):
    with pytest.raises(ValueError, match="at least one head"):
        make(heads=0)
