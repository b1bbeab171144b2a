from __future__ import annotations

import pytest

from splatbench.method import MethodError


@pytest.mark.parametrize(
    ("settings", "doubled", "compat"),
    [
        ({}, False, set()),
        ({"preset": "published"}, True, {"tiles_3sigma", "tile_cap_256"}),
        ({"preset": "published", "gradient": "exact"}, False, {"tiles_3sigma", "tile_cap_256"}),
        ({"preset": "published", "tile_cap_256": False}, True, {"tiles_3sigma"}),
        ({"gradient": "published"}, True, set()),
    ],
)
def test_preset_expands_to_switches(method, settings, doubled, compat):
    config = method.make_config(settings)
    assert config.doubles_offdiagonal_gradient is doubled
    assert config.compat == compat


def test_defaults_are_those_of_the_released_code(method):
    config = method.make_config({})
    assert (config.iterations, config.loss_lambda, config.eps) == (50_000, 0.8, 1e-15)
    assert (config.mean_lr, config.colour_lr, config.scale_lr, config.rotation_lr) == (1e-4, 5e-3, 5e-2, 1e-3)
    assert (config.tile_padding, config.knn_include_self, config.theta_init) == ("zero", True, "pi")
    assert (config.colour_weight_units, config.uniform_rounds, config.uniform_batch) == ("lattice", 50, 10_000)
    assert (config.variational_share, config.gradient_weight, config.top_up) == (0.7, 0.9, False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_upp": True}, "did you mean 'top_up'"),
        ({"tile_padding": "mirror"}, "tile_padding"),
        ({"iterations": 0}, "at least 1"),
        ({"scale_lr": 0.0}, "scale_lr must be positive"),
        ({"eps": float("nan")}, "eps must be positive"),
        ({"loss_lambda": 1.5}, r"loss_lambda must be in \[0, 1\]"),
        ({"colour_bits": 17}, "colour_bits must be 1 to 16"),
        ({"position_bits": 0}, "position_bits must be 1 to 16"),
        ({"mean_lr_reference": 0}, "mean_lr_reference"),
    ],
)
def test_bad_settings_are_named(method, settings, message):
    with pytest.raises(MethodError, match=message):
        method.make_config(settings)
