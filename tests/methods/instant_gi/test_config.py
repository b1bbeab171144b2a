from __future__ import annotations

import pytest

from splatbench.method import MethodError


def test_presets_and_their_switches(method):
    small, official = (method.make_config({"preset": name}) for name in ("small", "official"))
    assert not small.compat and not small.repeats_published_gradient and not small.normalises_by_picture
    assert official.compat == {"tiles_3sigma", "tile_cap_256"}
    assert official.repeats_published_gradient and official.normalises_by_picture
    changes = {"tile_cap_256": False, "gradient": "exact", "batch_statistics": False}
    corrected = method.make_config({"preset": "official", **changes})
    assert corrected.compat == {"tiles_3sigma"}
    assert not corrected.repeats_published_gradient and not corrected.normalises_by_picture
    assert method.make_config({"gradient": "published"}).repeats_published_gradient


def test_the_default_is_what_the_network_gives(method):
    config = method.make_config({})
    assert (config.preset, config.start, config.iterations) == ("small", "network", 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": -1}, "iterations must be at least 0"),
        ({"learning_rate": 0}, "must be positive"),
        ({"learning_rate_step": 0}, "learning_rate_step at least 1"),
        ({"block": 5}, "block"),
        ({"start": "quard"}, "start"),
        ({"strat": "quad"}, "did you mean 'start'"),
    ],
)
def test_settings_out_of_range(method, settings, message):
    with pytest.raises(MethodError, match=message):
        method.make_config(settings)
