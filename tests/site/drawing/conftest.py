"""Small encoded files of every method with Gaussians, made by the methods themselves, and a page that reads them."""

from __future__ import annotations

import base64
import functools
import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.codec import Attribute, topk_meta, with_groups, write
from splatbench.gaussians import Gaussians2D, TopkSettings
from splatbench.method import get_method
from splatbench.site.compare import SCRIPTS
from splatbench.trace import Trace

ASSETS = Path(__file__).resolve().parents[3] / "reports" / "site" / "assets"
SIZE = (52, 70)  # (H, W), whole tiles in neither direction
COUNT = 150

#: File -> (method, settings) of tiny fits.
FITS = {
    "random": ("random_gaussians", {}),
    "gaussianimage": ("gaussianimage", {"variant": "cholesky"}),
    "gaussianimage published": ("gaussianimage", {"variant": "cholesky", "preset": "published"}),
    "gaussianimage rs": ("gaussianimage", {"variant": "rs"}),
    "gaussianimage codes": ("gaussianimage", {"variant": "cholesky", "quantise": True, "qat_iterations": 3}),
    "gaussianimage rs codes": (
        "gaussianimage", {"variant": "rs", "preset": "published", "quantise": True, "qat_iterations": 3}
    ),
    "image_gs": ("image_gs", {"preset": "quick"}),
    "image_gs published": ("image_gs", {"preset": "quick", "kernels": "published", "gamma": 2.2}),
    "image_gs codes": ("image_gs", {"preset": "quick", "position_bits": 12, "scale_bits": 10, "color_bits": 8}),
    "image_gs scale codes": (
        "image_gs", {"preset": "quick", "kernels": "published", "scale_bits": 16, "angle_bits": 8, "color_bits": 6}
    ),
    "smartsplat": ("smartsplat", {"preset": "published"}),
    "smartsplat codes": ("smartsplat", {"quantise": True, "qat_iterations": 3}),
    "lig": ("lig", {"preset": "published", "levels": 2}),
    "lig corrected": ("lig", {"preset": "corrected", "levels": 3}),
    "lig codes": ("lig", {"preset": "corrected", "levels": 2, "quantise": True}),
    "threedgs": ("threedgs", {}),
}  # fmt: skip


def part(method: str, name: str):
    """A module of a method's folder."""
    return importlib.import_module(f"{get_method(method).__module__}.{name}")


def photograph() -> np.ndarray:
    """uint8 [H, W, 3] of SIZE."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[20 : 20 + SIZE[0], 200 : 200 + SIZE[1]])


#: Files that need no fit, since the methods that make them need weights, or none makes them.
MADE = {
    "fast_2dgs": lambda: fast_2dgs_file(),
    "instant_gi": lambda: part("instant_gi", "bitstream").write_gaussians(random_gaussians(cholesky=True)),
    "air": lambda: air_file("plain"),
    "air codes": lambda: air_file("codes"),
    "air stretched codes": lambda: air_file("stretched"),
    "external": lambda: external_file(),
    "textures": lambda: with_groups(file_of(random_gaussians(channels=4)), (3, 1)),
    "grey": lambda: file_of(random_gaussians(channels=1)),
}
NAMES = (*FITS, *MADE)

#: One for each way of drawing; the others hold the same kinds of numbers, and those are compared bit for bit.
DRAWN = (
    "gaussianimage published",
    "image_gs codes",
    "smartsplat",
    "lig",
    "lig codes",
    "threedgs",
    "air stretched codes",
)


@functools.cache
def encoded_file(name: str) -> bytes:
    """One of NAMES: a fit of a few steps, or random Gaussians."""
    if name in MADE:
        return MADE[name]()
    method, settings = FITS[name]
    kind = get_method(method)
    instance = kind(kind.make_config(settings))
    return instance.to_bytes(instance.encode(photograph(), Budget(gaussians=COUNT, iterations=6), Trace()))


def fast_2dgs_file() -> bytes:
    bitstream = part("fast_2dgs", "bitstream")
    topk = random_gaussians(blend="topk", topk=TopkSettings(k=4, min_response=1e-3))
    return bitstream.write_gaussians(bitstream.ordered(topk))


def external_file() -> bytes:
    """Most of what a layout of any Gaussians has to carry."""
    opacities = torch.linspace(0, 1, COUNT)
    made = random_gaussians(cholesky=True, blend="alpha", opacities=opacities, background=1.0, gamma=2.2)
    return part("external", "layout").to_bytes(made)


def random_gaussians(seed: int = 1, count: int = COUNT, size=SIZE, cholesky=False, channels=3, **fields) -> Gaussians2D:
    """Gaussians of many sizes and shapes, some beyond the border; needles among them."""
    rng = np.random.default_rng(seed)
    means = (rng.random((count, 2)) * 1.2 - 0.1) * [size[1], size[0]]
    scales = np.exp(rng.uniform(np.log(0.4), np.log(12), (count, 2)))
    scales[: count // 10] = [0.2, 30]
    tensor = lambda values: torch.from_numpy(np.asarray(values, np.float32))  # noqa: E731
    shape = {"scales": tensor(scales), "angles": tensor(rng.uniform(-4, 4, count))}
    if cholesky:
        shape = {"cholesky": tensor(np.stack([scales[:, 0], rng.normal(0, 3, count), scales[:, 1]], 1))}
    colors = rng.random((count, channels)) * (0.5 if fields.get("blend", "sum") == "sum" else 1)
    return Gaussians2D(means=tensor(means), colors=tensor(colors), size=size, **shape, **fields)


def file_of(g: Gaussians2D, method: str = "random_gaussians") -> bytes:
    """A file of the plain layout, in the order given."""
    attributes = [Attribute(name, value.numpy()) for name, value in g.tensors().items()]
    meta = dict(topk_meta(g)) | ({"gamma": g.gamma} if g.gamma != 1 else {})
    meta |= {"background": g.background} if g.background else {}
    return write(method, g.size, g.blend, g.compat, attributes, meta)


def air_file(kind: str) -> bytes:
    """AIR's file of random patches in three stages."""
    patches, encoding, quantiser = part("air", "patches"), part("air", "encoding"), part("air", "quantiser")
    generator = torch.Generator().manual_seed(3)
    count = len(patches.PatchGrid(*SIZE, 9))
    masks = torch.rand(3, count, generator=generator) < torch.tensor([1.0, 0.6, 0.5])[:, None]
    values = patches.activate(torch.randn(int(masks.sum()), 8, generator=generator), 9)
    compat = frozenset({"tile_cap_256"} if kind == "stretched" else ())
    made = encoding.Encoding(SIZE, 9, kind == "stretched", compat, masks, values)
    if kind != "plain":
        torch.manual_seed(3)
        codec = quantiser.Codec(16, kind="adaptive")
        ranges = codec.ranges(values, torch.randn(16, generator=generator))
        made = made.quantised(codec.quantise(values, ranges), ranges)
    return part("air", "bitstream").write(made)


def drawing_page(page):
    """A blank page with the scripts that read and draw files."""
    page.set_content("<title>test</title><canvas></canvas>")
    for script in SCRIPTS:
        if script.startswith(("s2d", "draw")):
            page.add_script_tag(path=ASSETS / script)
    page.add_script_tag(content=_HELPERS)
    return page


_HELPERS = """
window.bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
window.textOf = (bytes) => {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
};
window.packed = (array) => textOf(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
"""


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


_KIT = (encoded_file, photograph, random_gaussians, file_of, text, numbers)


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The functions above: tests are no package that could be imported."""
    return SimpleNamespace(**{function.__name__: function for function in _KIT}, size=SIZE, names=NAMES)


@pytest.fixture(params=NAMES)
def encoded(request) -> bytes:
    """Each of the files in turn."""
    return encoded_file(request.param)


@pytest.fixture(params=[n if n in DRAWN else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def drawable(request) -> bytes:
    """Each of the files, in the default run those of DRAWN."""
    return encoded_file(request.param)


@pytest.fixture(scope="module")
def page(browser):
    """A blank page with the scripts; it must not complain."""
    page, problems = browser.new_page(), []

    def listen(message) -> None:
        """Drivers remark that reading pixels back is slow, which only tests do."""
        if message.type in ("error", "warning") and "ReadPixels" not in message.text:
            problems.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield drawing_page(page)
    page.close()
    assert problems == []
