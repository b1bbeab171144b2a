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


def test_defaults_are_the_papers(method):
    config = method.make_config({})
    assert (config.variant, config.iterations, config.learning_rate) == ("cholesky", 50_000, 1e-3)
    assert (config.covariance_bits, config.codebook_size, config.codebook_stages) == (6, 8, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"varient": "rs"}, "did you mean 'variant'"),
        ({"variant": "polar"}, "variant"),
        ({"iterations": 0}, "at least 1"),
        ({"iterations": "many"}, "iterations"),
        ({"learning_rate": -1.0}, "positive"),
        ({"covariance_bits": 17}, "1 to 16"),
        ({"codebook_decay": 1.0}, "codebook_decay"),
    ],
)
def test_bad_settings_are_named(method, settings, message):
    with pytest.raises(MethodError, match=message):
        method.make_config(settings)
