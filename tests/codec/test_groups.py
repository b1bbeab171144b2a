from __future__ import annotations

import numpy as np
import pytest

from splatbench.codec import Attribute, BitstreamError, channel_groups, read, with_groups, write


def file_of(meta=None):
    colors = np.random.default_rng(0).random((5, 7), np.float32)
    return write("some", (4, 6), "topk", ["tiles_3sigma"], [Attribute("colors", colors)], {"k": 3} | (meta or {}))


def test_groups_travel_in_the_file_and_change_nothing_else():
    plain = file_of()
    data = with_groups(plain, (3, 1, 3))
    assert channel_groups(data, 7) == (3, 1, 3)
    before, after = read(plain), read(data)
    assert after.meta == before.meta | {"groups": "3,1,3"}
    np.testing.assert_array_equal(after.arrays["colors"], before.arrays["colors"])
    assert (after.method, after.size, after.blend, after.compat) == ("some", (4, 6), "topk", {"tiles_3sigma"})
    assert 0 < len(data) - len(plain) < 20


def test_one_picture_needs_no_word():
    plain = file_of()
    assert with_groups(plain, (3,)) == plain
    assert channel_groups(plain, 7) == (7,)


@pytest.mark.parametrize("text", ["3,1", "3,1,3,1", "2,5", "3,,4", "seven", ""])
def test_groups_that_make_no_such_picture_are_refused(text):
    with pytest.raises(BitstreamError, match="picture of 7"):
        channel_groups(file_of({"groups": text}), 7)
