"""Drawing in the browser against the reference renderers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from splatbench.codec import decode
from splatbench.gaussians import Gaussians2D, TopkSettings
from splatbench.render import render
from splatbench.render.reference import rasterize_sum_reference
from splatbench.render.reference_alpha import rasterize_alpha_reference
from splatbench.render.reference_topk import rasterize_topk_reference

DRAW = """([file, width, height, view]) => {
  window.renderer = window.renderer || splatbench.createRenderer(document.querySelector("canvas"));
  const { gl, canvas, info } = renderer;  // one for all: a browser keeps only some contexts alive
  [canvas.width, canvas.height] = [width, height];
  const ok = renderer.draw(splatbench.s2d.gaussians(bytesOf(file)), view);
  const pixels = new Uint8Array(4 * width * height);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  return [ok, info, gl.getError(), packed(pixels)];
}"""


def drawn(page, kit, data: bytes, size, x=0.0, y=0.0, scale=1.0) -> np.ndarray:
    """uint8 [H, W, 4] on a canvas of this size."""
    height, width = size
    ok, info, error, pixels = page.evaluate(DRAW, [kit.text(data), width, height, {"x": x, "y": y, "scale": scale}])
    assert ok and error == 0, info
    return kit.numbers(pixels, "u1").reshape(height, width, 4)[::-1]


def reference(g: Gaussians2D) -> np.ndarray:
    """float64 [H, W, 3] in 0 to 255 by the definition."""
    means, covariance, colors = g.means.double(), g.covariance(), g.colors.double()
    if g.blend == "sum":
        image = rasterize_sum_reference(means, covariance, colors, g.size, g.compat)
    elif g.blend == "topk":
        image = rasterize_topk_reference(means, covariance, colors, g.size, **vars(g.topk), compat=g.compat)
    else:
        opacities = torch.ones(len(g)) if g.opacities is None else g.opacities
        background = torch.full(colors.shape[1:], g.background)
        image = rasterize_alpha_reference(means, covariance, colors, opacities, g.size, background)
    image = image.clamp(0, 1) ** (1 / g.gamma)
    return 255 * image.expand(-1, -1, 3).numpy() if image.shape[2] == 1 else 255 * image[..., :3].numpy()


def check(pixels: np.ndarray, wanted: np.ndarray, most: float = 2.0, mean: float = 0.5) -> None:
    error = np.abs(pixels[..., :3] - wanted)
    assert error.max() <= most and error.mean() < mean, (error.max(), error.mean())


def scenes(kit) -> dict[str, Gaussians2D]:
    """Every blend and switch; crowded, so that the cap leaves something out."""
    make = kit.random_gaussians
    crowded, few = make(count=1500, size=(40, 50), seed=2), make(count=40)
    return {
        "sum": make(),
        "sum, as published": dataclasses.replace(
            few, colors=3 * few.colors, scales=torch.full((40, 2), 4.9), compat=frozenset({"tiles_3sigma"})
        ),
        "sum, capped": dataclasses.replace(crowded, colors=crowded.colors / 40, compat=frozenset({"tile_cap_256"})),
        "sum, both": dataclasses.replace(
            crowded, colors=crowded.colors / 40, compat=frozenset({"tiles_3sigma", "tile_cap_256"})
        ),
        "grey": make(channels=1),
        "sum, gamma": make(gamma=2.2),
        "topk": make(blend="topk"),
        "topk of 1": make(blend="topk", topk=TopkSettings(k=1, epsilon=1e-2, min_response=0.1)),
        "topk of 32": make(blend="topk", topk=TopkSettings(k=32, min_response=1e-3), gamma=1.8),
        "topk, as published": dataclasses.replace(
            few, blend="topk", scales=torch.full((40, 2), 2.0), compat=frozenset({"tiles_3sigma"})
        ),
        "alpha": make(blend="alpha", opacities=torch.rand(150, generator=torch.Generator().manual_seed(1))),
        "alpha, opaque": make(blend="alpha", background=0.7),
    }


SCENES = (
    "sum", "sum, as published", "sum, capped", "sum, both", "grey", "sum, gamma", "topk", "topk of 1", "topk of 32",
    "topk, as published", "alpha", "alpha, opaque",
)  # fmt: skip


@pytest.mark.parametrize("name", SCENES)
def test_native_scale_is_the_reference(page, kit, name):
    g = scenes(kit)[name]
    pixels = drawn(page, kit, kit.file_of(g), g.size)
    assert (pixels[..., 3] == 255).all()
    check(pixels, reference(g), most=1.0, mean=0.3)


def test_switches_change_what_is_drawn(kit):
    """The comparisons above would be empty if the scenes did not tell the switches apart."""
    all_scenes = scenes(kit)
    for name in ("sum, as published", "sum, capped", "topk, as published"):
        g = all_scenes[name]
        assert np.abs(reference(g) - reference(dataclasses.replace(g, compat=frozenset()))).max() > 1.5


def test_files_of_all_methods_are_drawn_as_python_draws_them(page, kit, drawable):
    decoded = decode(drawable)
    image = 255 * render(decoded).clamp(0, 1).numpy()
    wanted = np.repeat(image, 3, 2) if image.shape[2] == 1 else image[..., :3]
    check(drawn(page, kit, drawable, decoded.size), wanted)


@pytest.mark.parametrize("name", ["sum", "sum, gamma", "topk", "topk of 1", "alpha", "alpha, opaque"])
@pytest.mark.parametrize(("x", "y", "scale"), [(7.25, 11.5, 2.5), (30.0, 20.0, 16.0)])
def test_beyond_native_scale_the_same_function_is_drawn_more_finely(page, kit, name, x, y, scale):
    g = scenes(kit)[name]
    moved = dataclasses.replace(
        g, means=((g.means.double() - torch.tensor([x, y])) * scale).float(), scales=g.scales * scale, size=(60, 80)
    )
    pixels = drawn(page, kit, kit.file_of(g), (60, 80), x, y, scale)
    inside = pixels[..., 3] == 255
    assert inside.mean() > 0.4
    check(pixels[inside], reference(moved)[inside])


def test_switches_follow_the_native_tiles_at_any_scale(page, kit):
    for name in ("sum, both", "topk, as published"):
        g = scenes(kit)[name]
        pixels = drawn(page, kit, kit.file_of(g), (3 * g.size[0], 3 * g.size[1]), 0, 0, 3.0)
        check(pixels[1::3, 1::3], reference(g), most=1.0)  # the middle of 3 x 3 lies on the pixel's centre


def test_a_smaller_view_averages_what_it_leaves_out(page, kit):
    g = kit.random_gaussians(size=(48, 64))
    native = np.clip(reference(g), 0, 255)
    wanted = native.reshape(12, 4, 16, 4, 3).mean((1, 3))
    check(drawn(page, kit, kit.file_of(g), (12, 16), 0, 0, 0.25), wanted, most=1.0)


def test_outside_of_the_picture_nothing_is_drawn(page, kit):
    g = kit.random_gaussians()
    pixels = drawn(page, kit, kit.file_of(g), (80, 100), -10, -12, 1.0)
    inside = np.zeros((80, 100), bool)
    inside[12 : 12 + g.size[0], 10 : 10 + g.size[1]] = True
    assert ((pixels[..., 3] == 255) == inside).all() and (pixels[~inside] == 0).all()
    check(pixels[inside].reshape(*g.size, 4), reference(g))


def test_thin_and_far_gaussians_keep_their_digits(page, kit):
    """Needles of 0.2 x 30 px, seen at 8 times at 12 000 px from the corner."""
    g = kit.random_gaussians(count=60, size=(9000, 16000))
    means = torch.rand(60, 2, generator=torch.Generator().manual_seed(4)) * 12 + torch.tensor([12_000.0, 8_000.0])
    g = dataclasses.replace(g, means=means, scales=torch.tensor([[0.2, 30.0]]).repeat(60, 1), colors=g.colors / 4)
    near = dataclasses.replace(
        g, means=(means - torch.tensor([12_000.0, 8_000.0])) * 8, scales=g.scales * 8, size=(96, 96)
    )
    check(drawn(page, kit, kit.file_of(g), (96, 96), 12_000, 8_000, 8.0), reference(near))


def test_one_that_is_larger_than_everything_and_degenerate_ones(page, kit):
    g = kit.random_gaussians(count=40)
    scales = g.scales.clone()
    scales[0], scales[1], scales[2] = torch.tensor([1e6, 2e6]), torch.tensor([0.0, 5.0]), torch.tensor([1e9, 1e-3])
    g = dataclasses.replace(g, scales=scales)
    check(drawn(page, kit, kit.file_of(g), g.size), reference(g))


def test_no_gaussians_are_a_black_picture(page, kit):
    pixels = drawn(page, kit, kit.file_of(kit.random_gaussians(count=0)), (52, 70))
    assert (pixels[..., :3] == 0).all() and (pixels[..., 3] == 255).all()


def test_what_cannot_be_drawn_is_said(page, kit):
    many = kit.file_of(kit.random_gaussians(blend="topk", topk=TopkSettings(k=33)))
    ok, info, error, _ = page.evaluate(DRAW, [kit.text(many), 8, 8, {"x": 0, "y": 0, "scale": 1}])
    assert not ok and "33" in info["message"] and error == 0
    usual = kit.text(kit.file_of(kit.random_gaussians()))
    ok, info, _, _ = page.evaluate(DRAW, [usual, 8, 8, {"x": 0, "y": 0, "scale": 0}])
    assert not ok and "scale" in info["message"]


def test_without_webgl_there_is_a_sentence_and_no_exception(page, kit):
    said = page.evaluate(
        """(file) => {
          const canvas = document.createElement("canvas");
          canvas.getContext("2d");  // from now on it has no other context
          const renderer = splatbench.createRenderer(canvas);
          const drawn = renderer.draw(splatbench.s2d.gaussians(bytesOf(file)), { x: 0, y: 0, scale: 1 });
          return [drawn, renderer.info.ok, renderer.info.message];
        }""",
        kit.text(kit.file_of(kit.random_gaussians())),
    )
    assert said[:2] == [False, False] and "WebGL2" in said[2]


COUNTED = """async (file) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [70, 52];
  const renderer = splatbench.createRenderer(canvas), { gl } = renderer;
  const alive = { Texture: 0, Buffer: 0, VertexArray: 0, Program: 0, Framebuffer: 0, Shader: 0 };
  for (const kind of Object.keys(alive)) {
    const [create, remove] = [gl["create" + kind].bind(gl), gl["delete" + kind].bind(gl)];
    gl["create" + kind] = (...given) => { alive[kind] += 1; return create(...given); };
    gl["delete" + kind] = (...given) => { alive[kind] -= 1; return remove(...given); };
  }
  const view = { x: 0, y: 0, scale: 1 };
  const seen = [];
  for (let i = 0; i < 12; i++) {
    renderer.draw(splatbench.s2d.gaussians(bytesOf(file)), view);
    seen.push(alive.Texture);
  }
  renderer.dispose();
  return [seen, alive, renderer.draw(splatbench.s2d.gaussians(bytesOf(file)), view), renderer.info.message];
}"""


@pytest.mark.parametrize("name", ["gaussianimage", "image_gs", "lig"])
def test_nothing_leaks(page, kit, name):
    textures, alive, drawn_again, message = page.evaluate(COUNTED, kit.text(kit.encoded_file(name)))
    assert textures[-1] == textures[6], "pictures that are not shown any more make room"
    assert alive == {"Texture": 0, "Buffer": 0, "VertexArray": 0, "Program": 0, "Framebuffer": -1, "Shader": 0}
    assert drawn_again is False and message


def test_a_lost_context_comes_back(browser, page, kit):
    own = browser.new_page()  # losing a context is a warning on its console
    try:
        for script in page.evaluate("[...document.scripts].map((s) => s.textContent)"):
            own.add_script_tag(content=script)
        states = own.evaluate(
            """async (file) => {
              const canvas = document.createElement("canvas");
              [canvas.width, canvas.height] = [70, 52];
              const renderer = splatbench.createRenderer(canvas), { gl } = renderer;
              const g = splatbench.s2d.gaussians(bytesOf(file)), view = { x: 0, y: 0, scale: 1 };
              const pixels = new Uint8Array(4 * 70 * 52);
              const read = () => {
                gl.readPixels(0, 0, 70, 52, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
                return packed(pixels);
              };
              const states = [renderer.draw(g, view), read()];
              const loses = gl.getExtension("WEBGL_lose_context");
              const heard = (name) => new Promise((done) => canvas.addEventListener(name, done, { once: true }));
              const lost = heard("webglcontextlost");
              loses.loseContext();
              await lost;
              states.push(renderer.draw(g, view), renderer.info.message);
              const restored = heard("webglcontextrestored");
              setTimeout(() => loses.restoreContext(), 0);
              await restored;
              states.push(renderer.draw(g, view), read());
              return states;
            }""",
            kit.text(kit.file_of(kit.random_gaussians())),
        )
    finally:
        own.close()
    assert (states[0], states[2], states[4]) == (True, False, True)
    assert "graphics" in states[3] and states[1] == states[5]


OVERLAY = """([file, width, height, view, what, options]) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const result = splatbench[what](context, splatbench.s2d.gaussians(bytesOf(file)), view, options);
  return [result, packed(context.getImageData(0, 0, width, height).data)];
}"""


def overlay(page, kit, g, size, view, what, options=None):
    data = g if isinstance(g, bytes) else kit.file_of(g)
    result, pixels = page.evaluate(OVERLAY, [kit.text(data), size[1], size[0], view, what, options or {}])
    return result, kit.numbers(pixels, "u1").reshape(*size, 4)


def test_an_ellipse_lies_at_its_sigmas(page, kit):
    g = kit.random_gaussians(count=1, size=(100, 100))
    g = dataclasses.replace(
        g, means=torch.tensor([[50.0, 40.0]]), scales=torch.tensor([[10.0, 4.0]]), angles=torch.tensor([0.5])
    )
    for sigma in (1, 2, 3):
        result, pixels = overlay(
            page, kit, g, (200, 200), {"x": 0, "y": 0, "scale": 2}, "drawEllipses", {"sigma": sigma}
        )
        assert result == {"drawn": 1, "total": 1}
        rows, columns = np.nonzero(pixels[..., 3] > 100)
        d = np.stack([(columns + 0.5) / 2 - 50, (rows + 0.5) / 2 - 40], 1)
        turn = np.array([[np.cos(0.5), np.sin(0.5)], [-np.sin(0.5), np.cos(0.5)]])
        distance = np.linalg.norm(d @ turn.T / [10, 4], axis=1)
        assert len(d) > 50 and abs(np.median(distance) - sigma) < 0.1 and distance.max() < sigma + 0.3


def test_of_many_ellipses_an_even_choice_is_drawn_of_those_in_view(page, kit):
    g = kit.random_gaussians(count=3000, size=(300, 400), seed=6)
    g = dataclasses.replace(g, scales=torch.full((3000, 2), 1.0))
    result, _ = overlay(
        page, kit, g, (300, 400), {"x": 0, "y": 0, "scale": 1}, "drawEllipses", {"sigma": 2, "limit": 500}
    )
    x, y = g.means.T
    total = int(((x > -2) & (x < 402) & (y > -2) & (y < 302)).sum())
    assert result == {"drawn": 500, "total": total}
    nothing, pixels = overlay(
        page, kit, g, (30, 40), {"x": 5000, "y": 0, "scale": 1}, "drawEllipses", {"sigma": 2, "limit": 9}
    )
    assert nothing == {"drawn": 0, "total": 0} and not pixels.any()


def test_density_counts_gaussians_per_pixel(page, kit):
    """Left half: 4 per 64 square pixels; right half: none."""
    centres = [
        (8 * i + 1 + 3 * a, 8 * j + 1 + 3 * b) for i in range(8) for j in range(16) for a in (0, 1) for b in (0, 1)
    ]
    g = kit.random_gaussians(count=len(centres), size=(128, 128))
    g = dataclasses.replace(g, means=torch.tensor(centres, dtype=torch.float32))
    result, pixels = overlay(page, kit, g, (128, 128), {"x": 0, "y": 0, "scale": 1}, "drawDensity")
    assert result["max"] == pytest.approx(4 / 64)
    assert (pixels[..., 3] == 255).all()
    bright, dark = pixels[40:80, 20:44, :3].reshape(-1, 3), pixels[40:80, 90:120, :3].reshape(-1, 3)
    assert (bright == [253, 231, 37]).all() and (dark == [68, 1, 84]).all()


def test_overlays_of_levels_lie_where_their_gaussians_do(page, kit):
    data = kit.encoded_file("lig corrected")
    decoded = decode(data)
    total = sum(len(level) for level in decoded.levels)
    view = {"x": -200, "y": -200, "scale": 1}
    result, _ = overlay(page, kit, data, (500, 500), view, "drawEllipses", {"sigma": 1, "limit": 10})
    assert result == {"drawn": 10, "total": total}
