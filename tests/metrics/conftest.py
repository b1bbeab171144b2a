"""Fixtures of the metric tests: pictures, the reference packages' own values, stand-in LPIPS networks."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Pictures this small gain nothing from threads, and waiting for one another costs much on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """float32 [H, W, 3] in [0, 1]: the picture after a round trip through JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).astype(np.float32) / np.float32(255)


@pytest.fixture(scope="session")
def jpeg() -> Callable[[np.ndarray, int], np.ndarray]:
    return _jpeg


@pytest.fixture(scope="session")
def pairs() -> dict[str, Pair]:
    """(picture float32, reference uint8) of photographs inside scikit-image: odd and even sides, coarse and fine."""
    from skimage import data

    rng = np.random.default_rng(7)
    chelsea, astronaut, coffee = data.chelsea(), data.astronaut(), data.coffee()
    noisy = np.clip(astronaut / 255 + rng.normal(0, 0.08, astronaut.shape), 0, 1).astype(np.float32)
    odd = coffee[:, :597]
    return {
        "chelsea 300x451, JPEG 10": (_jpeg(chelsea, 10), chelsea),
        "astronaut 512x512, noise": (noisy, astronaut),
        "coffee 400x597, JPEG 60": (_jpeg(odd, 60), odd),
    }


@pytest.fixture(scope="session")
def odd_pair(pairs: dict[str, Pair]) -> Pair:
    """Sides that are odd at several scales of MS-SSIM's pyramid and no multiple of LPIPS's steps: 299 x 451."""
    picture, reference = pairs["chelsea 300x451, JPEG 10"]
    return picture[:299], reference[:299]


@pytest.fixture(scope="session")
def random_lpips() -> Callable[[str], object]:
    """The package's network with random weights: the same arithmetic as with the trained ones, without a download."""
    import lpips
    import torch

    def build(net: str) -> object:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            model = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
        for layer in model.lins:
            layer.model[1].weight.data.abs_()
        return model

    return build
