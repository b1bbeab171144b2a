"""Addresses of methods and data sets that no record names, but papers or the project do."""

from __future__ import annotations

from collections.abc import Mapping

from splatbench.site.links import short_hash, unique_slugs
from splatbench.site.page import Site


def method_address(site: Site, method: str) -> str:
    """The page of a method, measured or not."""
    return _address("methods", method, site.methods)


def dataset_address(site: Site, dataset: str) -> str:
    """The page of a data set, used or not."""
    return _address("datasets", dataset, site.datasets)


def _address(folder: str, name: str, measured: Mapping[str, str]) -> str:
    """A name that records have keeps its page; another one never takes it."""
    short = measured.get(name) or unique_slugs([name])[name]
    if name not in measured and short in measured.values():
        short = f"{short}-{short_hash(name)}"
    return f"{folder}/{short}.html"
