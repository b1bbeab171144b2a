"""The comparison of pictures in a real browser: what it shows is measured on screenshots, pixel by pixel."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from splatbench.budget import Budget
from splatbench.codec import decode
from splatbench.method import get_method
from splatbench.report.labels import number
from splatbench.report.reference import reports_folder
from splatbench.site.compare import SCRIPTS, STYLES, Comparison, Source
from splatbench.site.page import script
from splatbench.site.pictures import decoded_picture, file_script
from splatbench.trace import Trace

HEIGHT, WIDTH = 48, 64
SCALE = 10  # shown at 640 x 480
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'" + "x" * 300
ASSETS = reports_folder() / "site" / "assets"

Open = Callable[..., Any]


def picture(seed: int) -> np.ndarray:
    """Noise, uint8 [48, 64, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def gaussians() -> tuple[bytes, np.ndarray]:
    """(an .s2d file of 200 Gaussians, what it decodes to)."""
    kind = get_method("random_gaussians")
    method = kind(kind.make_config({}))
    method.prepare()
    original = picture(0)
    content = method.to_bytes(method.encode(original, Budget(gaussians=200), Trace()))
    return content, decoded_picture(decode(content, ".s2d"), original, 1)[0]


@pytest.fixture
def spec(gaussians: tuple[bytes, np.ndarray]) -> Comparison:
    return Comparison(
        title="Pictures of a test",
        width=WIDTH,
        height=HEIGHT,
        left="original",
        right="other",
        original="original",
        sources=[
            Source("original", "Original", "Original", image=png(picture(0)), why_no_file="the original has none"),
            Source("other", "Another: 9.00 dB", "Another", image=png(picture(1)), facts=[("PSNR", "9.00 dB")]),
            Source("g1", "Fit, after 10: 8.10 dB", "Fit", "10 steps", png(picture(2)), facts=[("PSNR", "8.10 dB")]),
            Source("g2", "Fit: 8.30 dB", "Fit", "final", png(gaussians[1]), "abc", facts=[("PSNR", "8.30 dB")]),
            Source("hostile", HOSTILE, HOSTILE, facts=[(HOSTILE, HOSTILE)]),
            Source("damaged", "Damaged", "Damaged", image=png(picture(3)), file="bad"),
        ],
    )


@pytest.fixture
def opened(watched, tmp_path: Path, spec: Comparison, gaussians: tuple[bytes, np.ndarray]) -> Open:
    """Opens a page with a comparison from a file, as a reader of a site's copy does; gives the page."""

    def open_page(comparison: Comparison = spec):
        (tmp_path / "assets").mkdir()
        names = ("common.js", "site.css", *STYLES, *SCRIPTS, "compare-page.js")
        for name in names:
            shutil.copy(ASSETS / name, tmp_path / "assets" / name)
        shutil.copy(reports_folder() / "templates" / "style.css.j2", tmp_path / "assets" / "style.css")
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / "abc.js").write_bytes(file_script("abc", gaussians[0]))
        damaged = bytearray(gaussians[0])
        damaged[len(damaged) // 2] ^= 255
        (tmp_path / "files" / "bad.js").write_bytes(file_script("bad", bytes(damaged)))
        (tmp_path / "data.js").write_bytes(script("compare", comparison.as_dict()))
        styles = "".join(f'<link rel="stylesheet" href="assets/{n}">' for n in ("style.css", "site.css", *STYLES))
        scripts = "".join(f'<script src="assets/{n}" defer></script>' for n in ("common.js", *SCRIPTS))
        page = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>test</title>{styles}{scripts}'
            '<script src="data.js" defer></script><script src="assets/compare-page.js" defer></script>'
            '<main><h1>Test</h1><div data-compare style="width: 640px"></div></main></html>'
        )
        (tmp_path / "page.html").write_text(page)
        watched.page.set_viewport_size({"width": 720, "height": 960})  # what is not seen is not drawn
        watched.page.goto((tmp_path / "page.html").as_uri())
        watched.page.locator(".compare-stage").wait_for()
        settle(watched.page)
        return watched.page

    return open_page


def settle(page) -> None:
    """Waits until everything chosen has been loaded and drawn."""
    page.locator(".compare-stage[aria-busy=false]").wait_for()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def side(page, name: str):
    return page.get_by_role("group", name=name, exact=True)


def choose(page, name: str, source: str | None = None, layer: str | None = None) -> None:
    if source:
        side(page, name).get_by_label("Picture").select_option(source)
    if layer:
        side(page, name).get_by_label("Shown as").select_option(layer)
    settle(page)


def divide(page, percent: float) -> None:
    page.get_by_label("Divider between left and right").fill(str(percent))
    settle(page)


def shot(page) -> np.ndarray:
    """The stage without what lies over the pictures, uint8 [480, 640, 3]."""
    page.add_style_tag(content=".compare-caption, .compare-handle { visibility: hidden }")
    page.add_style_tag(content=".compare-stage { border-radius: 0; outline: none !important }")
    stage = page.locator(".compare-stage")
    pixels = np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert("RGB"))
    box = stage.bounding_box()
    top = round(box["y"]) - int(box["y"])  # the stage starts at a whole pixel, the screenshot at the one above
    return pixels[top : top + round(box["height"])]


def colours(pixels: np.ndarray) -> np.ndarray:
    """The different colours of a picture, each as one number: much faster than np.unique along an axis."""
    return np.unique(pixels.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32))


def at_centres(stage: np.ndarray) -> np.ndarray:
    """Colours at the centres of the picture's pixels, at scale 10: [48, 64, 3]."""
    return stage[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE].astype(int)


def test_every_script_of_the_component_is_named() -> None:
    """One that is left out would be missed only in the browser of a reader."""
    found = {path.name for pattern in ("s2d*.js", "draw*.js", "compare*.js") for path in ASSETS.glob(pattern)}
    assert found == {*SCRIPTS, "compare-page.js"}


def test_the_divider_parts_left_and_right(opened: Open, watched) -> None:
    page = opened()
    divide(page, 25)
    shown = at_centres(shot(page))
    expected = np.where(np.arange(WIDTH)[None, :, None] < WIDTH // 4, picture(0), picture(1))
    assert np.array_equal(shown, expected)
    assert watched.problems == []


def test_the_divider_follows_pointer_and_keys(opened: Open) -> None:
    page = opened()
    divider = page.get_by_label("Divider between left and right")
    box = page.locator(".compare-stage").bounding_box()
    page.mouse.move(box["x"] + 320, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 480, box["y"] + 100, steps=4)
    page.mouse.up()
    assert float(divider.input_value()) == pytest.approx(75, abs=0.6)
    page.keyboard.press("ArrowLeft")  # the stage has the focus now
    assert float(divider.input_value()) == pytest.approx(73, abs=0.6)
    divider.focus()
    page.keyboard.press("Home")
    assert float(divider.input_value()) == 0
    assert divider.get_attribute("aria-valuetext") == "0 % left"


def test_error_maps_are_exact(opened: Open) -> None:
    page = opened()
    choose(page, "Left", "g1", "error")
    choose(page, "Right", "other")
    divide(page, 100)
    for against, other, name in (("original", 0, "the original"), ("other", 1, "the other side")):
        page.get_by_label("Error against").select_option(against)
        for gain in (1, 4, 32):
            page.get_by_label("Error gain").select_option(str(gain))
            settle(page)
            expected = np.minimum(np.abs(picture(2).astype(int) - picture(other).astype(int)) * gain, 255)
            assert np.abs(at_centres(shot(page)) - expected).max() <= 1
            assert f"|picture − {name}| of each channel, × {gain};" in page.locator(".compare-notes").inner_text()


def test_equal_pictures_have_no_error(opened: Open) -> None:
    page = opened()
    choose(page, "Left", "original", "error")
    divide(page, 100)
    assert shot(page).max() == 0


def test_zooming_in_shows_pixels_as_squares(opened: Open) -> None:
    page = opened()
    divide(page, 100)
    page.locator(".compare-stage").focus()
    for _ in range(4):
        page.keyboard.press("+")
    settle(page)
    assert np.isin(colours(shot(page)), colours(picture(0))).all()
    assert page.locator(".compare-zoom").inner_text() == "2\u202f441 %"
    page.keyboard.press("0")
    settle(page)
    assert np.array_equal(at_centres(shot(page)), picture(0))


def test_the_wheel_zooms_only_where_it_was_asked_for(opened: Open) -> None:
    page = opened()
    zoom = page.locator(".compare-zoom")
    box = page.locator(".compare-stage").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.wheel(0, -200)
    settle(page)
    assert zoom.inner_text() == "1\u202f000 %"
    page.locator(".compare-stage").focus()
    page.mouse.wheel(0, -200)
    settle(page)
    assert zoom.inner_text() == "1\u202f563 %"


def test_dragging_moves_a_picture_that_is_larger_than_its_frame(opened: Open) -> None:
    page = opened()
    divide(page, 100)
    page.get_by_role("button", name="Zoom in").click(click_count=3)
    settle(page)
    before = shot(page)
    box = page.locator(".compare-stage").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 240, box["y"] + 170, steps=3)
    page.mouse.up()
    settle(page)
    after = shot(page)
    assert np.array_equal(after[10:400, 60:600], before[40:430, 20:560])
    assert page.get_by_label("Divider between left and right").input_value() == "100"


def test_side_by_side_shows_the_same_part_twice(opened: Open) -> None:
    page = opened()
    choose(page, "Right", "original")
    page.get_by_label("Layout").select_option("side")
    page.locator(".compare-stage").focus()
    for _ in range(6):
        page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    settle(page)
    stage = shot(page)
    half = (stage.shape[1] - 2) // 2
    assert np.array_equal(stage[:, :half], stage[:, -half:]) and len(np.unique(stage)) > 50
    assert not page.get_by_label("Divider between left and right").is_visible()


def test_each_layout_has_its_own_hint(opened: Open) -> None:
    page = opened()
    hint, stage = page.locator(".compare-hint"), page.locator(".compare-stage")
    assert "Drag the divider" in hint.inner_text() and "Drag the divider" in stage.get_attribute("aria-label")
    page.get_by_label("Layout").select_option("side")
    assert "divider" not in hint.inner_text() and "divider" not in stage.get_attribute("aria-label")
    page.get_by_label("Layout").select_option("slider")
    assert "Drag the divider" in hint.inner_text()


def test_facts_keep_their_order_whichever_side_has_them(opened: Open, spec: Comparison) -> None:
    facts = {"other": [("Size", "8"), ("Rate", "24")], "g2": [("Method", "a"), ("Rate", "1"), ("Size", "8")]}
    page = opened(
        replace(spec, sources=[replace(s, facts=facts[s.id]) for s in spec.sources if s.id in facts], original=None)
    )
    for left, right in (("other", "g2"), ("g2", "other")):
        choose(page, "Left", left)
        choose(page, "Right", right)
        rows = page.locator(".compare-facts tbody th").all_inner_texts()
        assert rows == ["Method", "Rate", "Size"]


def test_numbers_are_rounded_as_the_tables_round_them(opened: Open) -> None:
    values = [(v, d) for v in (16262.5, 16263.5, 0.125, -0.125, 2.675, -0.001, 1.005, 0.0) for d in range(4)]
    shown = opened().evaluate("values => values.map(([value, digits]) => splatbench.number(value, digits))", values)
    assert shown == [number(value, "x", {"x": digits}) for value, digits in values]


def test_stages_are_stepped_through_and_announced(opened: Open) -> None:
    page = opened()
    choose(page, "Right", "g1")
    stage = side(page, "Right").get_by_label("Stage")
    assert stage.get_attribute("aria-valuetext") == "10 steps, 8.10 dB"
    stage.focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert side(page, "Right").get_by_label("Picture").input_value() == "g2"
    assert stage.get_attribute("aria-valuetext") == "final, 8.30 dB"
    assert page.locator("p[role=status]").inner_text() == "Left: Original. Right: Fit: 8.30 dB"
    assert page.locator(".compare-stage [role=img]").get_attribute("aria-label").endswith("Right: Fit: 8.30 dB")
    assert not side(page, "Left").get_by_label("Stage").is_visible()


def test_gaussians_at_native_scale_are_the_decoded_picture(
    opened: Open, watched, gaussians: tuple[bytes, np.ndarray]
) -> None:
    page = opened()
    choose(page, "Left", "g2", "gaussians")
    divide(page, 100)
    page.evaluate("() => document.querySelector('[data-compare]').style.width = '64px'")  # fits at one pixel per pixel
    page.evaluate("() => document.querySelector('.compare-stage').style.minHeight = '0'")
    settle(page)
    shown = shot(page).astype(int)
    assert shown.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(shown - gaussians[1]).max() <= 2
    assert watched.problems == []


def test_beyond_native_resolution_gaussians_have_no_squares(opened: Open) -> None:
    page = opened()
    choose(page, "Left", "g2", "pixels")
    divide(page, 100)
    pixels = shot(page)
    choose(page, "Left", layer="gaussians")
    drawn = shot(page)
    assert len(colours(pixels)) <= HEIGHT * WIDTH
    assert len(colours(drawn)) > 2 * HEIGHT * WIDTH
    # the Gaussians at the centres of pixels are the pixels: positions have not moved
    between = (drawn[4::10, 4::10].astype(float) + drawn[5::10, 5::10]) / 2
    assert np.abs(between - at_centres(pixels)).mean() < 2


def test_ellipses_and_density_say_what_they_show(opened: Open, watched) -> None:
    page = opened()
    choose(page, "Left", "g2", "density")
    divide(page, 100)
    assert len(colours(shot(page))) > 20
    plain = shot(page)
    page.get_by_label("Ellipses of Gaussians").select_option("2")
    settle(page)
    assert not np.array_equal(shot(page), plain)
    notes = page.locator(".compare-notes").inner_text()
    assert "Left: 200 of 200 Gaussians in view drawn as ellipses at 2 σ." in notes
    assert "Left: Gaussians per 1 000 pixels, 0" in notes
    assert watched.problems == []


def test_what_cannot_be_shown_says_why(opened: Open) -> None:
    page = opened()
    layer = side(page, "Left").get_by_label("Shown as")
    option = layer.locator("option[value=gaussians]")
    assert option.is_disabled() and "the original has none" in option.inner_text()
    choose(page, "Left", "other")
    assert "its encoded file is not published" in layer.locator("option[value=density]").inner_text()
    choose(page, "Left", "hostile")
    assert "There is no picture" in page.get_by_role("alert").first.inner_text()


def test_a_layer_that_the_next_source_lacks_is_left(opened: Open) -> None:
    page = opened()
    choose(page, "Left", "g2", "gaussians")
    choose(page, "Left", "other")
    assert side(page, "Left").get_by_label("Shown as").input_value() == "pixels"


def test_a_damaged_file_is_a_sentence_and_the_picture_stays(opened: Open, watched) -> None:
    page = opened()
    choose(page, "Left", "damaged", "gaussians")
    divide(page, 100)
    message = page.get_by_role("alert").first
    assert message.is_visible() and message.inner_text().startswith("Left: ") and len(message.inner_text()) > 20
    page.add_style_tag(content=".compare-message { visibility: hidden; }")
    assert np.array_equal(at_centres(shot(page)), picture(3))
    choose(page, "Left", "other", "pixels")
    assert message.is_hidden()
    assert watched.problems == []


def test_names_are_never_read_as_markup(opened: Open, watched) -> None:
    page = opened()
    choose(page, "Right", "hostile")
    assert page.evaluate("document.querySelectorAll('main script, main img').length") == 0
    assert HOSTILE in page.locator(".compare-facts").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert watched.problems == []


def test_swapping_changes_the_sides(opened: Open) -> None:
    page = opened()
    page.get_by_role("button", name="Swap left and right").click()
    settle(page)
    divide(page, 100)
    assert np.array_equal(at_centres(shot(page)), picture(1))


def test_the_bytes_of_a_file_arrive_unchanged(opened: Open, gaussians: tuple[bytes, np.ndarray]) -> None:
    page = opened()
    read = page.evaluate("() => splatbench.file('abc').then((bytes) => [...bytes])")
    assert bytes(read) == gaussians[0]


def test_axe_finds_nothing_serious(opened: Open) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened()
    page.evaluate("() => document.querySelector('[data-compare]').style.width = ''")
    choose(page, "Left", "g2", "error")
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            settle(page)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            found = Axe().run(page).response["violations"]
            assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []
