"""Plain files of named arrays as the door for Gaussians that other code made: read, validated, converted."""

from splatbench.exchange.archive import parse_npy
from splatbench.exchange.convert import from_gaussians, to_gaussians
from splatbench.exchange.errors import ExchangeError
from splatbench.exchange.facts import Facts
from splatbench.exchange.limits import ARRAYS
from splatbench.exchange.reading import FACTS, SUFFIXES, NamedArrays, parse_arrays, read_arrays
from splatbench.exchange.writing import write_npz

__all__ = [
    "ARRAYS",
    "FACTS",
    "SUFFIXES",
    "ExchangeError",
    "Facts",
    "NamedArrays",
    "from_gaussians",
    "parse_arrays",
    "parse_npy",
    "read_arrays",
    "to_gaussians",
    "write_npz",
]
