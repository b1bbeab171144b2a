"""A real browser for the pages; without one the tests are skipped, or fail where SPLATBENCH_REQUIRE_BROWSER is set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

#: WebGL2 without a GPU; nothing that phones home.
ARGUMENTS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ROOT = Path(__file__).resolve().parent.parent.parent
PUBLISHED = ROOT / "results" / "published"


def _executable() -> str | None:
    return os.environ.get("SPLATBENCH_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator:
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(executable_path=_executable(), args=ARGUMENTS)
        except Error as error:
            reason = f"no Chromium here (`make browser` installs one): {str(error).splitlines()[0]}"
            if os.environ.get("SPLATBENCH_REQUIRE_BROWSER"):
                pytest.fail(reason)
            pytest.skip(reason)
        yield found
        found.close()


class Watched:
    """A page, and whatever it complained about."""

    def __init__(self, page) -> None:
        self.page = page
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.on(
            "console", lambda m: self.problems.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        page.on("requestfailed", lambda r: self.problems.append(f"not loaded: {r.url}"))
        page.on("request", lambda request: self.requests.append(request.url))


@pytest.fixture
def watched(browser) -> Iterator[Watched]:
    """A fresh page of 1440 x 900 that collects console messages, exceptions and requests."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(20_000)
    yield Watched(context.new_page())
    context.close()


@pytest.fixture
def browser_page(watched):
    """Just the page, for tests that look at their own errors."""
    return watched.page


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The folder of a site built from the published records, pictures from the published files included."""
    from splatbench.site.build import build, gather

    out = tmp_path_factory.mktemp("published") / "site"
    build(gather([PUBLISHED]), out, store=PUBLISHED / "files")
    return out
