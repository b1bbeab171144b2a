"""The whole site of the published records in a real browser: no errors, no strangers, usable by everybody."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

#: One page of each kind; the first that fits the pattern.
KINDS = {
    "overview": "index.html",
    "leaderboard": "leaderboard.html",
    "rates": "rates.html",
    "time": "time.html",
    "verdicts": "verdicts.html",
    "verdict": "verdicts/*.html",
    "methods": "methods.html",
    "method": "methods/gaussianimage.html",
    "datasets": "datasets.html",
    "dataset": "datasets/kodak.html",
    "images": "images.html",
    "image with pictures": "images/sample/chelsea*.html",
    "image without": "images/kodak/*.html",
    "about": "about.html",
}
#: Impacts of axe-core that are refused.
SERIOUS = {"serious", "critical"}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request, site: Path) -> Path:
    return sorted(site.glob(request.param))[0]


def open_page(watched, path: Path, *, width: int = 1440, scheme: str = "light"):
    page = watched.page
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(path.as_uri())
    page.wait_for_load_state("load")
    page.wait_for_timeout(150)  # what scripts do after the load
    return page


def test_every_page_loads_without_a_word_in_the_console(site, watched):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 60
    for path in pages:
        open_page(watched, path)
        assert not watched.problems, f"{path.relative_to(site)}: {watched.problems}"
        assert watched.page.locator("h1").count() == 1, path
    strangers = [url for url in watched.requests if not url.startswith(("file:", "data:", "blob:"))]
    assert not strangers


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_nothing_serious(kind, watched, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(watched, kind, width=width, scheme=scheme)
    found = [v for v in Axe().run(page).response["violations"] if v["impact"] in SERIOUS]
    assert not found, "\n".join(f"{v['id']}: {v['help']}\n  {v['nodes'][0]['html'][:300]}" for v in found)


@pytest.mark.parametrize("width", [390, 768, 1440, 2560])
def test_nothing_is_wider_than_the_window(kind, watched, width):
    page = open_page(watched, kind, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_page_can_be_walked_by_keyboard(kind, watched):
    """The first stop skips the navigation; focus can always be seen."""
    page = open_page(watched, kind)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    shown = page.evaluate(
        "(() => { const e = document.activeElement, s = getComputedStyle(e);"
        " return e === document.body || s.outlineStyle !== 'none' || s.boxShadow !== 'none'; })()"
    )
    assert shown


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.targets += [values[key] for key in ("href", "src") if values.get(key)]
        self.names |= {values[key] for key in ("id", "name") if values.get(key)}


def parsed(path: Path) -> _Links:
    parser = _Links()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


def test_every_link_leads_somewhere(site, watched):
    pages = {path: parsed(path) for path in site.rglob("*.html")}
    rows = open_page(watched, site / "leaderboard.html").evaluate("splatbench.data('board').rows.map((row) => row.id)")
    checked = 0
    for path, page in pages.items():
        for target in page.targets:
            if target.startswith(("http:", "https:", "data:", "mailto:")):
                continue
            address, fragment = urldefrag(target)
            where = (path.parent / unquote(address)).resolve() if address else path.resolve()
            assert where.is_file(), f"{path.relative_to(site)} links to {target}"
            if fragment and where.name == "leaderboard.html":
                assert "=" in fragment or fragment in {*rows, *pages[where].names}, (
                    f"{path.relative_to(site)} links to {target}"
                )
            elif fragment and where.suffix == ".html":
                assert unquote(fragment) in pages[where].names, f"{path.relative_to(site)} links to {target}"
            checked += 1
    assert checked > 1000


def test_every_page_can_be_reached(site):
    pages = {path.resolve(): parsed(path) for path in site.rglob("*.html")}
    reached, todo = set(), [(site / "index.html").resolve()]
    while todo:
        path = todo.pop()
        if path in reached or path not in pages:
            continue
        reached.add(path)
        todo += [(path.parent / unquote(urldefrag(t)[0])).resolve() for t in pages[path].targets if ".html" in t]
    assert reached == set(pages)


def test_links_to_other_sites_are_only_links(site):
    """Nothing is loaded from elsewhere: no fonts, no scripts, no pictures, no trackers."""
    for path in [*site.rglob("*.html"), *(site / "assets").glob("*.css")]:
        text = path.read_text(encoding="utf-8")
        for loader in ('src="http', "url(http", "@import", 'rel="preload"', 'rel="preconnect"', "<iframe"):
            assert loader not in text, f"{path.name}: {loader}"


def test_size(site):
    """Under 5 MB without pictures; no page of its own is a burden."""
    files = [path for path in site.rglob("*") if path.is_file()]
    plain = [path for path in files if path.relative_to(site).parts[0] not in ("pictures", "files")]
    assert sum(path.stat().st_size for path in plain) < 5e6
    for path in plain:
        assert path.stat().st_size < 1.5e6, path


def test_nothing_of_this_machine_is_in_it(site):
    for path in site.rglob("*"):
        if path.suffix in (".html", ".js", ".csv", ".txt"):
            text = path.read_text(encoding="utf-8")
            for local in ("/root/", "/home/", "/tmp/", str(site)):
                assert local not in text, f"{path.relative_to(site)}: {local}"


def test_the_first_page_answers_for_a_budget(site, watched):
    page = open_page(watched, site / "index.html")
    page.get_by_label("Data set").select_option("kodak")
    page.get_by_label("Budget", exact=True).select_option(label="N = 28\u202f000")
    rows = page.locator("#choose-result > .table tbody tr:not(.control)")
    assert rows.count() == 8
    best = page.locator("#choose-said").inner_text()
    assert "ranked rows" in best
    page.get_by_label("Encode time per image").select_option("1")
    page.wait_for_timeout(50)
    assert page.locator("#choose-said").inner_text() != best
    page.get_by_label("Encode time per image").select_option("")
    rows.first.get_by_role("link").click()
    assert "leaderboard.html#" in page.url
    assert not watched.problems


def test_without_scripts_every_page_still_says_something(site, browser, kind):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(kind.as_uri())
    assert page.locator("h1").inner_text()
    assert len(page.locator("main").inner_text()) > 100
    context.close()
