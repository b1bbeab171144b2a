"""Scenes, and the definition of blend `sum` written out one Gaussian at a time in float64 with explicit gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

LIMIT = np.log(255.0)
#: Pairs this close to the cut (in 1/2 d^T S^-1 d): float32 cannot decide them, a kernel may be off by 1/255 of a colour
DOUBT = 1e-4


@dataclass
class Scene:
    means: np.ndarray  # [N, 2] float32
    covariance: np.ndarray  # [N, 3] float64
    colors: np.ndarray  # [N, C] float32
    size: tuple[int, int]

    def __iter__(self):
        return iter((self.means, self.covariance, self.colors))


@dataclass
class Truth:
    image: np.ndarray
    grads: tuple[np.ndarray, np.ndarray, np.ndarray]
    sure_pixels: np.ndarray  # [H, W]: no pair at the cut
    sure_gaussians: np.ndarray  # [N]


def _covariance(s1, s2, angle):
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos**2 * s1**2 + sin**2 * s2**2, cos * sin * (s1**2 - s2**2), sin**2 * s1**2 + cos**2 * s2**2], -1)


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., Scene]:
    """make_scene(count, size, long=(lo, hi), short=(lo, hi), spread, seed, channels): log-uniform axes, any angle."""

    def make(count, size, long=(0.5, 6), short=(0.5, 6), spread=5.0, seed=0, channels=3) -> Scene:
        rng = np.random.default_rng(seed)
        axes = [np.exp(rng.uniform(*np.log(span), count)) for span in (long, short)]
        means = rng.uniform([-spread, -spread], [size[1] + spread, size[0] + spread], (count, 2)).astype(np.float32)
        colors = rng.normal(size=(count, channels)).astype(np.float32)
        return Scene(means, _covariance(*axes, rng.uniform(0, np.pi, count)), colors, size)

    return make


@pytest.fixture(scope="session")
def truth() -> Callable[..., Truth]:
    def draw(scene: Scene, grad: np.ndarray | None = None) -> Truth:
        height, width = scene.size
        n, channels = scene.colors.shape
        image = np.zeros((height, width, channels))
        grads = np.zeros((n, 2)), np.zeros((n, 3)), np.zeros((n, channels))
        sure_pixels, sure_gaussians = np.ones((height, width), bool), np.ones(n, bool)
        for i in range(n):
            s = np.array(
                [[scene.covariance[i, 0], scene.covariance[i, 1]], [scene.covariance[i, 1], scene.covariance[i, 2]]]
            )
            det = s[0, 0] * s[1, 1] - s[0, 1] ** 2
            if not (np.isfinite(scene.means[i]).all() and np.isfinite(det) and det > 1e-12 * s[0, 0] * s[1, 1] > 0):
                continue
            x = np.linalg.inv(s)
            reach = np.sqrt(2 * LIMIT * np.diag(s)) + 1
            x0, y0 = np.maximum(np.floor(scene.means[i] - reach), 0).astype(int)
            x1, y1 = np.minimum(np.ceil(scene.means[i] + reach), [width, height]).astype(int)
            if x0 >= x1 or y0 >= y1:
                continue
            dx = np.arange(x0, x1)[None, :] + 0.5 - np.float64(scene.means[i, 0])
            dy = np.arange(y0, y1)[:, None] + 0.5 - np.float64(scene.means[i, 1])
            power = 0.5 * (x[0, 0] * dx * dx + x[1, 1] * dy * dy) + x[0, 1] * dx * dy
            doubtful = np.abs(power - LIMIT) < DOUBT
            sure_pixels[y0:y1, x0:x1] &= ~doubtful
            sure_gaussians[i] = not doubtful.any()
            w = np.where(power <= LIMIT, np.exp(-power), 0.0)
            color = scene.colors[i].astype(np.float64)
            image[y0:y1, x0:x1] += w[..., None] * color
            if grad is None:
                continue
            g = grad[y0:y1, x0:x1].astype(np.float64)
            u = w * (g @ color)
            second = np.array([[(u * dx * dx).sum(), (u * dx * dy).sum()], [0, (u * dy * dy).sum()]])
            second[1, 0] = second[0, 1]
            v = 0.5 * x @ second @ x
            grads[0][i] = x @ [(u * dx).sum(), (u * dy).sum()]
            grads[1][i] = v[0, 0], 2 * v[0, 1], v[1, 1]
            grads[2][i] = np.einsum("yx,yxc->c", w, g)
        return Truth(image, grads, sure_pixels, sure_gaussians)

    return draw


@pytest.fixture(scope="session")
def error() -> Callable[..., float]:
    """Largest difference, relative to the largest wanted value."""

    def compare(got, want) -> float:
        got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
        assert got.shape == want.shape
        return 0.0 if want.size == 0 else float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30))

    return compare


@pytest.fixture(scope="session")
def gradient() -> Callable[[Scene], np.ndarray]:
    """dL/dimage of a made-up loss."""

    def make(scene: Scene, seed: int = 1) -> np.ndarray:
        shape = (*scene.size, scene.colors.shape[1])
        return np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    return make
