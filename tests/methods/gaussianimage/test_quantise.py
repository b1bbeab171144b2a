from __future__ import annotations

import pytest
import torch


@pytest.fixture
def quantise(part):
    return part("quantise")


def test_uniform_quantiser_starts_at_the_range(quantise):
    x = torch.randn(500, 3) * torch.tensor([1.0, 10.0, 0.1])
    q = quantise.UniformQuantiser(x, bits=6)
    torch.testing.assert_close(q.beta.data, x.amin(0))
    torch.testing.assert_close(q.scale.data, (x.amax(0) - x.amin(0)) / 63)
    codes = q.codes(x)
    assert codes.min() == 0
    assert codes.max() == 63
    step, beta = q.table()
    torch.testing.assert_close(codes * step + beta, q(x).detach(), atol=1e-6, rtol=1e-6)
    assert ((q(x) - x).abs() <= q.scale / 2 * 1.0001).all()


def test_uniform_quantiser_gradients(quantise):
    """dx^/dx = 1 inside, 0 outside; dx^/dgamma = code - (x - beta)/gamma, 0, 63; dx^/dbeta = 0 inside, 1 outside."""
    q = quantise.UniformQuantiser(torch.tensor([[0.0], [63.0]]), bits=6)  # gamma 1, beta 0
    for value, dx, dgamma, dbeta in [(10.3, 1, -0.3, 0), (10.7, 1, 0.3, 0), (-5.0, 0, 0, 1), (80.0, 0, 63, 1)]:
        x = torch.tensor([[value]], requires_grad=True)
        q.zero_grad()
        q(x).sum().backward()
        assert x.grad.item() == pytest.approx(dx)
        assert q.scale.grad.item() == pytest.approx(dgamma, abs=1e-5)
        assert q.beta.grad.item() == pytest.approx(dbeta)


def test_constant_channel_is_exact_and_finite(quantise):
    x = torch.full((20, 3), 0.7, requires_grad=True)
    q = quantise.UniformQuantiser(x, bits=6)
    torch.testing.assert_close(q(x), x)
    q(x).sum().backward()
    assert torch.isfinite(q.scale.grad).all()


def test_a_step_that_crosses_zero_stays_positive(quantise):
    q = quantise.UniformQuantiser(torch.rand(20, 1), bits=6)
    q.scale.data.fill_(-1.0)
    assert (q.step() > 0).all()
    assert torch.isfinite(q(torch.rand(20, 1))).all()


def test_rounding_is_half_to_even(quantise):
    q = quantise.UniformQuantiser(torch.tensor([[0.0], [63.0]]), bits=6)
    assert q.codes(torch.tensor([[0.5], [1.5], [2.5]])).flatten().tolist() == [0, 2, 2]


def test_float16_rounding_passes_the_gradient(quantise):
    x = torch.tensor([0.1, 1.2345678, -3.3], requires_grad=True)
    y = quantise.round_float16(x)
    assert torch.equal(y, x.half().float())
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones(3))


def residual(quantise, x, **settings):
    settings = {"stages": 2, "size": 8, "decay": 0.8, "iterations": 5} | settings
    return quantise.ResidualVectorQuantiser(x, generator=torch.Generator().manual_seed(1), **settings)


def test_colours_receive_the_gradient_once_per_stage(quantise):
    x = torch.rand(300, 3, requires_grad=True)
    q = residual(quantise, x).eval()
    output, _ = q(x)
    incoming = torch.randn(300, 3)
    (output * incoming).sum().backward()
    torch.testing.assert_close(x.grad, 2 * incoming)


def test_commitment_loss_and_its_gradient(quantise):
    x = torch.rand(300, 3, requires_grad=True)
    q = residual(quantise, x).eval()
    _, commitment = q(x)
    codes, books = q.codes(x), q.table()
    r1 = x.detach()
    e1 = books[0][codes[:, 0].long()]
    r2 = r1 - e1
    e2 = books[1][codes[:, 1].long()]
    torch.testing.assert_close(commitment, (e1 - r1).square().mean() + (e2 - r2).square().mean())
    commitment.backward()
    torch.testing.assert_close(x.grad, 2 * (r1 - e1) / x.numel() + 2 * (r2 - e2) / x.numel())


def test_output_is_the_sum_of_the_nearest_entries(quantise):
    x = torch.rand(300, 3)
    q = residual(quantise, x).eval()
    codes, books = q.codes(x), q.table()
    distances = torch.cdist(x.double(), books[0].double())
    assert torch.equal(codes[:, 0].long(), distances.argmin(1))
    expected = books[0][codes[:, 0].long()] + books[1][codes[:, 1].long()]
    torch.testing.assert_close(q(x)[0], expected)


def test_codebook_update_in_training_only(quantise):
    """n = 0.8 n + 0.2 count, s = 0.8 s + 0.2 sum, entry = s / (smoothed n)."""
    x = torch.rand(300, 3)
    q = residual(quantise, x, stages=1)
    stage = q.stages[0]
    counts, sums, entries = stage.counts.clone(), stage.sums.clone(), stage.entries.clone()
    y = torch.rand(300, 3)
    q.eval()(y)
    assert torch.equal(stage.entries, entries)
    index = torch.cdist(y, entries).argmin(1)
    q.train()(y)
    for k in range(8):
        mine = y[index == k]
        counts[k] = 0.8 * counts[k] + 0.2 * len(mine)
        sums[k] = 0.8 * sums[k] + 0.2 * mine.sum(0)
    smoothed = (counts + 1e-5) / (counts.sum() + 8e-5) * counts.sum()
    torch.testing.assert_close(stage.entries, sums / smoothed[:, None], atol=1e-5, rtol=1e-5)


def test_kmeans_lowers_the_distortion_and_keeps_empty_clusters(quantise):
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(200, 3, generator=generator) * 0.01 + shift for shift in (0.0, 1.0, 2.0)])
    distortion = []
    for iterations in (1, 5):
        centres, counts = quantise.kmeans(x, 8, iterations, torch.Generator().manual_seed(1))
        assert counts.sum() == len(x)
        distortion.append(torch.cdist(x, centres).amin(1).square().mean())
    assert distortion[1] <= distortion[0]
    identical = torch.full((20, 3), 0.5)
    centres, counts = quantise.kmeans(identical, 8, 5, torch.Generator().manual_seed(1))
    assert torch.equal(centres, identical[:8])
    assert counts.tolist() == [20, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("n", [1, 3, 8])
def test_fewer_colours_than_entries(quantise, n):
    x = torch.rand(n, 3)
    q = residual(quantise, x).eval()
    torch.testing.assert_close(q(x)[0], x, atol=1e-6, rtol=0)
