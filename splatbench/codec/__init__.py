"""Bytes in, bytes out: the .s2d file, its entropy coding and quantisers. The layout is in docs/s2d.md."""

from splatbench.codec.attributes import Attribute
from splatbench.codec.container import Header, Limits, S2DFile, peek_method, read, read_header, write
from splatbench.codec.dispatch import decode, gaussians_from_arrays, topk_meta
from splatbench.codec.errors import BitstreamError
from splatbench.codec.groups import channel_groups, with_groups
from splatbench.codec.morton import spatial_order
from splatbench.codec.quantise import Grid, to_float16, uniform_codes, uniform_values, vector_values

__all__ = [
    "Attribute",
    "BitstreamError",
    "Grid",
    "Header",
    "Limits",
    "S2DFile",
    "channel_groups",
    "decode",
    "gaussians_from_arrays",
    "peek_method",
    "read",
    "read_header",
    "spatial_order",
    "to_float16",
    "topk_meta",
    "uniform_codes",
    "uniform_values",
    "vector_values",
    "with_groups",
    "write",
]
