"""Which channels of a picture belong to one texture: a meta value of the .s2d file, "groups": "3,1,3"."""

from __future__ import annotations

from collections.abc import Sequence

from splatbench.codec.attributes import Attribute
from splatbench.codec.container import read, read_header, write
from splatbench.codec.errors import BitstreamError

_KEY = "groups"


def with_groups(data: bytes, groups: Sequence[int]) -> bytes:
    """The same .s2d file, which knows how many channels (1 or 3) each texture has; one alone needs no such note."""
    if len(groups) == 1:
        return data
    file = read(data)
    attributes = [Attribute(name, values) for name, values in file.arrays.items()]
    meta = file.meta | {_KEY: ",".join(map(str, groups))}
    return write(file.method, file.size, file.blend, file.compat, attributes, meta)


def channel_groups(data: bytes, channels: int) -> tuple[int, ...]:
    """Channels of each texture in a .s2d file whose picture has `channels`; all in one group where it does not say.

    Raises:
        BitstreamError: not a .s2d file, or groups that are not those of such a picture.
    """
    text = read_header(data).meta.get(_KEY)
    if text is None:
        return (channels,)
    parts = str(text).split(",")
    groups = tuple(int(part) for part in parts if part in ("1", "3"))
    if len(groups) != len(parts) or sum(groups) != channels:
        raise BitstreamError(f"textures of {text!r} channels do not make a picture of {channels}")
    return groups
