from __future__ import annotations

import pytest
import torch

from splatbench.budget import Budget
from splatbench.codec import BitstreamError, decode, peek_method
from splatbench.render import render
from splatbench.trace import Trace


def fitted(method, crop, **settings):
    instance = method(method.make_config({"iterations": 60, "qat_iterations": 25} | settings))
    return instance, instance.encode(crop, Budget(gaussians=600), Trace())


@pytest.mark.parametrize("variant", ["cholesky", "rs"])
@pytest.mark.parametrize("order", ["fitted", "spatial"])
def test_plain_file_holds_every_bit(method, crop, variant, order):
    instance, encoding = fitted(method, crop, variant=variant, order=order)
    data = instance.to_bytes(encoding)
    assert peek_method(data) == "gaussianimage"
    back = method.from_bytes(data)
    rows = lambda g: sorted(map(tuple, torch.cat([t.reshape(len(g), -1) for t in g.tensors().values()], 1).tolist()))  # noqa: E731
    assert rows(back) == rows(encoding.gaussians)
    assert list(back.tensors()) == list(encoding.gaussians.tensors())
    torch.testing.assert_close(render(back), render(encoding.gaussians), atol=2e-6, rtol=0)


@pytest.mark.parametrize("variant", ["cholesky", "rs"])
@pytest.mark.parametrize("preset", ["published", "corrected"])
def test_decoded_picture_is_the_quantised_forward_pass(method, part, crop, variant, preset):
    qat, model = part("qat"), part("model")
    config = method.make_config({"variant": variant, "preset": preset, "quantise": True, "qat_iterations": 15})
    activation = model.Activation(config, crop.shape[:2])
    parameters = model.initial_parameters(variant, 500, seed=1)
    fitted_model = qat.fit_quantised(parameters, activation, torch.from_numpy(crop), Trace(), 1, lambda m: None)
    with torch.no_grad():
        expected, _ = fitted_model()
    data = method(config).to_bytes(fitted_model.codes())
    torch.testing.assert_close(render(method.from_bytes(data)), expected, atol=1e-5, rtol=0)
    assert method.from_bytes(data).compat == config.compat


def test_quantised_file_is_smaller_than_the_nominal_count_and_close_in_quality(method, crop):
    instance, encoding = fitted(method, crop, quantise=True)
    data = instance.to_bytes(encoding)
    nominal = instance.nominal_bits(encoding)
    assert nominal == 56 * 600 + 1728
    assert len(data) * 8 < nominal
    plain_instance, plain = fitted(method, crop)
    assert len(data) < len(plain_instance.to_bytes(plain)) / 3


def test_qat_recovers_quality(method, crop):
    """Right after k-means quality is poor; quantisation-aware steps win most of it back."""
    taken = {}
    trace = Trace(snapshots=["fit", "qat-1"], on_snapshot=lambda name, encoding: taken.update({name: encoding}))
    instance = method(method.make_config({"iterations": 1000, "qat_iterations": 150, "quantise": True}))
    final = instance.encode(crop, Budget(gaussians=1500), trace)
    target = torch.from_numpy(crop).double() / 255
    psnr = {
        name: float(
            -10 * torch.log10((render(decode(instance.to_bytes(e))).clamp(0, 1).double() - target).square().mean())
        )
        for name, e in {**taken, "final": final}.items()
    }
    assert psnr["qat-1"] < psnr["final"] < psnr["fit"]
    # Half of the loss to the first quantised step is typical here (33.7, 27.6, 30.3 dB).
    assert psnr["final"] - psnr["qat-1"] > 0.3 * (psnr["fit"] - psnr["qat-1"])
    assert set(trace.stages) == {"initialise", "fit", "quantise"}
    assert trace.steps == 1000 + 150


def test_best_state_is_what_was_measured(method, part, crop):
    """Preset corrected keeps the state whose render had the best PSNR."""
    qat, model = part("qat"), part("model")
    config = method.make_config({"quantise": True, "qat_iterations": 12})
    activation = model.Activation(config, crop.shape[:2])
    trace = Trace()
    seen = []
    trace.step = lambda i, n, **values: seen.append(values["loss"])  # type: ignore[method-assign]
    fitted_model = qat.fit_quantised(
        model.initial_parameters("cholesky", 300, 1), activation, torch.from_numpy(crop), trace, 1, lambda m: None
    )
    with torch.no_grad():
        image, _ = fitted_model()
    error = float((image.clamp(0, 1).double() - torch.from_numpy(crop).double() / 255).square().mean())
    assert error == pytest.approx(min(seen), rel=1e-4)


def test_file_of_another_method_is_refused(method):
    from splatbench.codec import write

    with pytest.raises(BitstreamError, match="made by method 'other'"):
        method.from_bytes(write("other", (4, 4), "sum", frozenset(), [], {}))
