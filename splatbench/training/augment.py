"""What is done to a picture before it is learned from. The result is both what the network sees and its target."""

from __future__ import annotations

import io
import math

import numpy as np
import torch
from PIL import Image

from splatbench.training.picture_rules import Augment, Colour, ShotNoise

#: Of the enlargement after a blur: AIR's code takes OpenCV's bilinear, bicubic and Lanczos-4; these are Pillow's.
_ENLARGE = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def augment(picture: np.ndarray, rules: Augment, rng: np.random.Generator) -> np.ndarray:
    """All that is asked for, in the order of `Augment`, each with its own probability.

    Args:
        picture: uint8 [H, W, 3], or [H, W, 4] with its label, which is only turned.
        rng: decides everything; a fresh one for each picture of each step. (The released code of AIR starts it anew
            with a constant for every batch, so that all batches get the same few changes.)

    Returns:
        uint8, contiguous; [W, H, 3 or 4] if transposed.
    """
    if rng.random() < rules.flip:
        picture = picture[:, ::-1]
    if rng.random() < rules.flip_vertical:
        picture = picture[::-1]
    if rng.random() < rules.transpose:
        picture = picture.transpose(1, 0, 2)
    picture, label = np.ascontiguousarray(picture[..., :3]), picture[..., 3:]
    if rules.colour is not None and rng.random() < rules.colour.p:
        picture = change_colour(picture, rules.colour, rng)
    if rules.noise is not None and rng.random() < rules.noise.p:
        picture = add_shot_noise(picture, rules.noise, rng)
    if rules.jpeg is not None and rng.random() < rules.jpeg.p:
        picture = through_jpeg(picture, int(rng.integers(*rules.jpeg.quality, endpoint=True)))
    if rules.blur is not None and rng.random() < rules.blur.p:
        picture = blur(picture, rng.uniform(*rules.blur.scale), _ENLARGE[rng.integers(len(_ENLARGE))])
    return np.concatenate([picture, label], 2) if label.size else picture


def change_colour(picture: np.ndarray, rule: Colour, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, saturation, hue, gamma, as torchvision defines them on [0, 1]; rounded once, at the end."""
    from torchvision.transforms.v2 import functional

    brightness, contrast, saturation = (
        rng.uniform(*limits) for limits in (rule.brightness, rule.contrast, rule.saturation)
    )
    hue, gamma = rng.uniform(*rule.hue), rng.uniform(*rule.gamma)
    pixels = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
    pixels = functional.adjust_brightness(pixels, brightness)
    pixels = functional.adjust_contrast(pixels, contrast)
    pixels = functional.adjust_saturation(pixels, saturation)
    pixels = functional.adjust_hue(pixels, hue)
    pixels = functional.adjust_gamma(pixels, gamma)
    return (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()


def add_shot_noise(picture: np.ndarray, rule: ShotNoise, rng: np.random.Generator) -> np.ndarray:
    """Poisson(k x) / k on the scale of 0 to 255, k = quanta / 255."""
    k = math.exp(rng.uniform(*np.log(rule.quanta))) / 255
    return np.clip(np.rint(rng.poisson(picture * k) / k), 0, 255).astype(np.uint8)


def through_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """Compressed with chroma 4:2:0, and decoded."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(file, formats=("JPEG",)))


def blur(picture: np.ndarray, scale: float, enlarge: Image.Resampling) -> np.ndarray:
    """Reduced to `scale` of its sides by area averaging, and enlarged again."""
    height, width = picture.shape[:2]
    small = Image.fromarray(picture).resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BOX
    )
    return np.array(small.resize((width, height), enlarge))
