"""`splatbench view`: one page that needs nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from splatbench.cli import app
from splatbench.codec import decode
from splatbench.datasets import load_image
from splatbench.render import render_u8
from splatbench.runner.scoring import score
from splatbench.site.view import MAX_SIDE, view_page


@pytest.fixture
def folder(tmp_path: Path, kit) -> Path:
    (tmp_path / "photo.s2d").write_bytes(kit.encoded_file("gaussianimage"))
    Image.fromarray(kit.photograph()).save(tmp_path / "photo.png")
    return tmp_path


def run(*arguments: object):
    return CliRunner().invoke(app, ["view", *map(str, arguments), "--no-open"])


def opened(watched, path: Path, width: int = 480):
    """The page once its comparison is drawn; small, because software draws here."""
    watched.page.set_viewport_size({"width": width, "height": 640})
    watched.page.goto(path.as_uri())
    watched.page.wait_for_selector(".compare-stage[aria-busy=false] canvas")
    watched.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return watched.page


def complaints(watched) -> list[str]:
    return [p for p in watched.problems if "ReadPixels" not in p]


def test_the_page_shows_a_file_beside_its_original(folder, watched):
    from axe_playwright_python.sync_playwright import Axe

    out = folder / "page.html"
    result = run(folder / "photo.s2d", "--original", folder / "photo.png", "--out", out)
    assert result.exit_code == 0 and str(out) in result.output
    page = opened(watched, out, width=720)
    text = page.inner_text("main")
    measured = score((folder / "photo.s2d").read_bytes(), load_image(folder / "photo.png").pixels, ["psnr"]).values[
        "psnr"
    ]
    assert "GaussianImage" in text and "150" in text and f"{measured:.2f}" in text
    assert complaints(watched) == []
    assert {url.split(":")[0] for url in watched.requests} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in watched.requests) == 1
    violations = Axe().run(page).response["violations"]
    assert [v["id"] for v in violations if v["impact"] in ("serious", "critical")] == []


def test_what_it_draws_is_the_file(folder, watched, kit):
    """The decoded pixels in the page are Python's, and the canvas shows the Gaussians of the same file."""
    out = folder / "page.html"
    run(folder / "photo.s2d", "--out", out)
    page = opened(watched, out)
    address = page.evaluate("JSON.parse(document.getElementById('spec').textContent).sources[0].image")
    import base64
    import io

    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))
    np.testing.assert_array_equal(picture, render_u8(decode((folder / "photo.s2d").read_bytes())))
    drawn = page.evaluate(
        """() => {
          const canvas = document.querySelector(".compare-right .compare-drawn");
          const copy = document.createElement("canvas");
          [copy.width, copy.height] = [canvas.width, canvas.height];
          copy.getContext("2d").drawImage(canvas, 0, 0);
          const { data } = copy.getContext("2d").getImageData(0, 0, copy.width, copy.height);
          const sum = [0, 0, 0, 0];
          data.forEach((value, i) => { sum[i % 4] += value; });
          return sum.slice(0, 3).map((total) => (255 * total) / sum[3]);
        }"""
    )
    np.testing.assert_allclose(drawn, picture.reshape(-1, 3).mean(0), atol=3)


def test_pages_are_equal_bytes_and_hold_no_paths(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("photo.s2d", "photo.png"):
        (elsewhere / name).write_bytes((folder / name).read_bytes())
    pages = [view_page(place / "photo.s2d", place / "photo.png") for place in (folder, elsewhere)]
    assert pages[0] == pages[1] and str(folder) not in pages[0]


@pytest.mark.parametrize("name", ['"><script>alert(1)<', "a'b & c", "x" * 200])
def test_names_are_text(folder, watched, name):
    name = name.replace("/", "") + ".s2d"
    (folder / name).write_bytes((folder / "photo.s2d").read_bytes())
    out = folder / "page.html"
    assert run(folder / name, "--out", out).exit_code == 0
    page = opened(watched, out)
    assert page.inner_text("h1") == name and page.title().startswith(name) and complaints(watched) == []


def test_only_its_own_scripts_may_run(folder, watched):
    page = view_page(folder / "photo.s2d").replace("</body>", "<script>window.foreign = 1</script></body>")
    (folder / "page.html").write_text(page)
    opened(watched, folder / "page.html")
    assert watched.page.evaluate("window.foreign") is None
    assert any("Content Security Policy" in problem for problem in watched.problems)


@pytest.mark.parametrize(
    "name",
    ["lig", "textures", *(pytest.param(name, marks=pytest.mark.slow) for name in ("grey", "threedgs", "image_gs"))],
)
def test_other_files(folder, watched, kit, name):
    (folder / "other.s2d").write_bytes(kit.encoded_file(name))
    out = folder / "page.html"
    assert run(folder / "other.s2d", "--out", out).exit_code == 0
    page = opened(watched, out)
    assert complaints(watched) == []
    assert page.locator(".compare-message:visible").count() == 0
    assert ("of which the first is shown" in page.inner_text("main")) == (name == "textures")


def test_a_file_of_pixels_is_shown_without_gaussians(folder, watched):
    Image.open(folder / "photo.png").save(folder / "photo.jpg", quality=50)
    out = folder / "page.html"
    assert run(folder / "photo.jpg", "--original", folder / "photo.png", "--out", out).exit_code == 0
    page = opened(watched, out)
    assert "pixels, not Gaussians" in page.inner_text("main") and "JPEG" in page.inner_text("main")
    assert 'addFile("' not in out.read_text() and complaints(watched) == []


def test_large_pictures_are_reduced_and_say_so(folder, watched, kit):
    (folder / "large.s2d").write_bytes(kit.file_of(kit.random_gaussians(count=200, size=(300, 2 * MAX_SIDE + 10))))
    out = folder / "page.html"
    assert run(folder / "large.s2d", "--out", out).exit_code == 0
    page = opened(watched, out)
    assert "averaged" in page.inner_text("main") and complaints(watched) == []
    spec = page.evaluate(
        "(() => { const s = JSON.parse(document.getElementById('spec').textContent); return [s.width, s.reduced] })()"
    )
    assert spec == [2 * MAX_SIDE + 10, 3]


def test_what_goes_wrong_is_said(folder, kit):
    def message(*arguments) -> str:
        result = run(*arguments)
        assert result.exit_code != 0
        return str(result.exception) if not isinstance(result.exception, SystemExit) else result.output

    assert "is not a file" in message(folder / "nothing.s2d")
    (folder / "cut.s2d").write_bytes((folder / "photo.s2d").read_bytes()[:-20])
    assert "cut.s2d" in message(folder / "cut.s2d") and "damaged" in message(folder / "cut.s2d")
    assert "is not there" in message(folder / "photo.s2d", "--original", folder / "gone.png")
    Image.new("RGB", (30, 20)).save(folder / "small.png")
    assert re.search("30 x 20 .*70 x 52", message(folder / "photo.s2d", "--original", folder / "small.png"))
    assert ".html" in message(folder / "photo.s2d", "--out", folder / "photo.png")
    (folder / "empty.s2d").write_bytes(b"")
    assert "empty.s2d" in message(folder / "empty.s2d")


def test_the_browser_is_opened_unless_told_otherwise(folder, monkeypatch):
    addresses: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: addresses.append(address) or True)
    result = CliRunner().invoke(app, ["view", str(folder / "photo.s2d")])
    assert result.exit_code == 0
    (address,) = addresses
    path = Path(address.removeprefix("file://"))
    assert path.name == "photo.html" and path.is_file()
    path.unlink()
    path.parent.rmdir()
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    result = CliRunner().invoke(app, ["view", str(folder / "photo.s2d"), "--out", str(folder / "page.html")])
    assert "open the page yourself" in result.output
