from __future__ import annotations

import pytest

from splatbench.method import MethodError


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (10_000, 500, 4, 3000)),
        ({"preset": "air600"}, (600, 300, 1, 300)),
        ({"preset": "air600_q"}, (600, 300, 1, 300)),
        ({"preset": "quick"}, (200, 25, 4, 100)),
        ({"preset": "air600", "add_steps": 100}, (600, 100, 1, 300)),
        ({"iterations": 7000}, (7000, 500, 4, 3000)),
    ],
)
def test_preset_sets_the_schedule_and_single_switches_override_it(method, settings, expected):
    config = method.make_config(settings).resolved()
    assert (config.iterations, config.add_steps, config.add_times, config.post_min_steps) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("exact", False, False, "inverse")),
        ({"kernels": "published"}, ("published", True, True, "scale")),
        ({"kernels": "published", "gradient": "exact"}, ("exact", True, True, "scale")),
        ({"gradient": "published", "quantised_scale": "scale"}, ("published", False, False, "scale")),
        ({"kernels": "published", "tiles_3sigma": False}, ("published", False, True, "scale")),
    ],
)
def test_kernels_are_four_switches(method, settings, expected):
    config = method.make_config(settings).resolved()
    switches = (config.gradient, config.tiles_3sigma, config.half_pixel_shift, config.quantised_scale)
    assert switches == expected
    assert config.compat == ({"tiles_3sigma"} if expected[1] else set())
    assert config.resolved() == config


def test_bits_of_the_quantised_preset(method):
    names = ("means", "scales", "angles", "colors")
    config = method.make_config({"preset": "air600_q"})
    assert [config.bits(name) for name in names] == [16, 16, 8, 8]
    config = method.make_config({"preset": "air600_q", "color_bits": 32})
    assert [config.bits(name) for name in names] == [16, 16, 8, 32]
    config = method.make_config({})
    assert [config.bits(name) for name in names] == [32, 32, 32, 32]


def test_defaults_are_the_published_ones(method):
    config = method.make_config({})
    assert (config.k, config.epsilon, config.initial_scale, config.random_fraction) == (10, 1e-4, 5.0, 0.3)
    assert (config.position_rate, config.scale_rate, config.angle_rate, config.color_rate) == (5e-4, 2e-3, 2e-3, 5e-3)
    assert (config.l1_weight, config.l2_weight, config.ssim_weight) == (1.0, 0.0, 0.1)
    assert (config.evaluate_every, config.patience, config.min_psnr_gain, config.min_ssim_gain) == (
        100,
        1000,
        0.1,
        1e-3,
    )
    assert (config.added_colors, config.inverse_scale, config.min_inverse_scale) == ("residual", True, 0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"presett": "paper"}, "did you mean 'preset'"),
        ({"preset": "air"}, "preset"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"add_times": 0}, "add_times"),
        ({"post_min_steps": -1}, "post_min_steps"),
        ({"scale_rate": 0.0}, "scale_rate must be positive"),
        ({"gamma": -1.0}, "gamma must be positive"),
        ({"rate_drop": float("inf")}, "rate_drop"),
        ({"initial_ratio": 0.0}, "initial_ratio"),
        ({"random_fraction": 1.1}, "random_fraction"),
        ({"color_bits": 3}, "color_bits must be 4 to 16, or 32"),
        ({"color_bits": 17}, "color_bits"),
        ({"k": 0}, "k must be at least 1"),
        ({"min_response": 2.0}, "min_response"),
        ({"l1_weight": -1.0}, "l1"),
        ({"l1_weight": 0.0, "ssim_weight": 0.0}, "nothing is left to minimise"),
        ({"min_inverse_scale": 1e-3, "inverse_scale": False}, "needs inverse_scale"),
        ({"quantised_scale": "inverse", "inverse_scale": False}, "needs inverse_scale"),
        ({"start": "map"}, "saliency_map"),
        ({"saliency_map": "map.png"}, "start: map"),
    ],
)
def test_bad_settings_are_named(method, settings, message):
    with pytest.raises(MethodError, match=message):
        method.make_config(settings)
