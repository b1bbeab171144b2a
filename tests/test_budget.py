from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splatbench.budget import Budget


@pytest.mark.parametrize(
    ("height", "width", "ratio", "count"),
    [
        (512, 768, 50, 3370),  # floor(3 * 512 * 768 / 350)
        (512, 768, 20, 8426),
        (6720, 6720, 1000, 19353),
        (12288, 16320, 3000, 28648),
    ],
)
def test_compression_ratio_is_smartsplats(height, width, ratio, count):
    assert Budget(compression_ratio=ratio).count(height, width) == count


@given(st.integers(1, 20000), st.integers(1, 20000), st.floats(0.5, 5000))
def test_count_never_exceeds_the_ratio(height, width, ratio):
    budget = Budget(compression_ratio=ratio)
    if 3 * height * width < 7 * ratio:
        with pytest.raises(ValueError, match="leaves no Gaussian"):
            budget.count(height, width)
    else:
        count = budget.count(height, width)
        assert count * 7 * ratio <= 3 * height * width * (1 + 1e-12) < (count + 1) * 7 * ratio * (1 + 1e-9)


@pytest.mark.parametrize("fields", [{}, {"gaussians": 5, "native": True}, {"gaussians": 5, "compression_ratio": 2.0}])
def test_exactly_one_target(fields):
    with pytest.raises(ValueError, match="exactly one of"):
        Budget(**fields)


@pytest.mark.parametrize("fields", [{"gaussians": 0}, {"gaussians": -3}, {"compression_ratio": float("nan")},
                                    {"native": True, "iterations": 0}, {"native": True, "seconds": -1.0}])  # fmt: skip
def test_values_out_of_range(fields):
    with pytest.raises(ValueError):
        Budget(**fields)


def test_slugs_are_unique_and_safe_in_paths():
    budgets = [
        Budget(gaussians=28000),
        Budget(gaussians=28000, iterations=800),
        Budget(gaussians=28000, seconds=1.5),
        Budget(compression_ratio=50),
        Budget(compression_ratio=0.5),
        Budget(bpp=0.5),
        Budget(quality=75),
        Budget(native=True),
        Budget(matched_to="air"),
        Budget(matched_to="air", warm=True),
        Budget(matched_to="air", warm=True, iterations=100),
    ]
    slugs = [b.slug for b in budgets]
    assert len(set(slugs)) == len(slugs)
    assert not any(set("/ \\@:") & set(s) for s in slugs)
    assert slugs[1] == "n28000-i800"
    assert slugs[-1] == "match-air-warm-i100"
    for budget in budgets:
        assert Budget(**budget.as_dict()) == budget


def test_warm_needs_an_entry_to_begin_from():
    with pytest.raises(ValueError, match="name it in matched_to"):
        Budget(gaussians=5, warm=True)
    assert "warm" not in Budget(matched_to="air").as_dict()


def test_counts_that_the_budget_does_not_fix():
    assert Budget(native=True).count(4, 4) is None
    assert Budget(bpp=1.0).count(4, 4) is None
