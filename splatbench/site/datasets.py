"""Placeholder until its part is written."""

from __future__ import annotations

from collections.abc import Iterator

from splatbench.site.page import Data, Page, Site


def pages(site: Site) -> Iterator[Page | Data]:
    yield from ()
