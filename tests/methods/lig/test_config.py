from __future__ import annotations

import pytest

from splatbench.method import MethodError


@pytest.mark.parametrize(
    ("settings", "form", "published_gradient"),
    [
        ({}, "cholesky", False),
        ({"preset": "published"}, "direct", True),
        ({"preset": "published", "gradient": "exact"}, "direct", False),
        ({"covariance": "direct"}, "direct", False),
        ({"preset": "published", "covariance": "cholesky"}, "cholesky", True),
    ],
)
def test_preset_expands_to_switches(method, settings, form, published_gradient):
    config = method.make_config(settings)
    assert (config.form, config.published_gradient) == (form, published_gradient)


def test_defaults_are_those_of_the_comparison(method):
    config = method.make_config({})
    assert (config.levels, config.allocation, config.learning_rate) == (2, 0.5, 0.018)
    assert (config.iterations, config.split_iterations, config.footprint) == (50_000, True, "published")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": 2}, "did you mean 'levels'"),
        ({"levels": 0}, "1 to 8"),
        ({"iterations": 0}, "at least 1"),
        ({"allocation": 0.0}, "allocation"),
        ({"learning_rate": -1.0}, "positive"),
        ({"covariance_bits": 17}, "1 to 16"),
        ({"footprint": "large"}, "footprint"),
    ],
)
def test_bad_settings_are_named(method, settings, message):
    with pytest.raises(MethodError, match=message):
        method.make_config(settings)
