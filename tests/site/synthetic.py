"""Made-up records in any number: of the right kind and size, so that what reads records can be tested at scale."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice, product
from typing import Any

from splatbench.budget import Budget
from splatbench.record import Column, Provenance, Record
from splatbench.runner.plan import configured

#: Data set -> (height, width) of its images in turn; names tell nobody that it is a real one.
DATASETS = {
    "made_up_photos": ((512, 768), (768, 512)),
    "made_up_large": ((1404, 2040), (1356, 2040), (2040, 1356)),
    "made_up_drawings": ((600, 800),),
    "made_up_textures": ((512, 512), (256, 256)),
}
SEEDS = (1, 2)
COUNTS = tuple({"gaussians": n, "iterations": 2000} for n in (10_000, 28_000, 52_000, 70_000))
RATIOS = tuple({"compression_ratio": float(ratio), "iterations": 2000} for ratio in (20, 50, 200))
QUALITIES = tuple({"quality": quality} for quality in (10, 30, 50, 70, 90))
NATIVE = ({"native": True},)


@dataclass(frozen=True)
class _Entry:
    """One method with its settings, and the two numbers that make up all of its results."""

    id: str
    method: str
    family: str
    column: Column
    budgets: tuple[dict[str, Any], ...]
    settings: tuple[tuple[str, Any], ...]
    gain: float  # dB above what the number of bits suggests
    bits: float  # per Gaussian


_ENTRIES = (
    _Entry("cholesky_published", "gaussianimage", "GaussianImage (Cholesky)", "published", COUNTS,
           (("preset", "published"),), 0.0, 180),
    _Entry("cholesky", "gaussianimage", "GaussianImage (Cholesky)", "corrected", COUNTS, (), 0.4, 180),
    _Entry("rs", "gaussianimage", "GaussianImage (RS)", "corrected", COUNTS, (("variant", "rs"),), 0.6, 180),
    _Entry("cholesky_q", "gaussianimage", "GaussianImage (Cholesky, quantised)", "corrected", COUNTS,
           (("quantise", True),), -0.3, 58),
    _Entry("image_gs", "image_gs", "Image-GS", "corrected", COUNTS, (), 0.9, 182),
    _Entry("smartsplat", "smartsplat", "SmartSplat", "corrected", RATIOS, (), 1.2, 210),
    _Entry("lig", "lig", "LIG", "published", RATIOS, (), 0.8, 190),
    _Entry("threedgs", "threedgs", "3DGS", "ours", COUNTS, (), -1.5, 240),
    _Entry("jpeg", "codecs", "JPEG", "control", QUALITIES, (), 0.0, 0),
    _Entry("avif", "codecs", "AVIF", "control", QUALITIES, (("codec", "avif"),), 2.5, 0),
    _Entry("identity", "identity", "Identity (lossless PNG)", "control", NATIVE, (), 0.0, 0),
)  # fmt: skip
_FAILURES = (
    ("diverged", "loss became nan at step 312 of 2000; a lower learning rate may help"),
    ("out_of_memory", "killed at 4096 MiB; give the job more memory"),
    ("failed", "LinAlgError: a covariance is not positive definite"),
    ("not_run", "not encoded yet; run the experiment again"),
)


def synthetic_records(n: int, seed: int = 0) -> list[Record]:
    """n records with distinct keys that `splatbench results validate` accepts: four data sets (an experiment each),
    Gaussian methods at equal counts and at compression ratios, controls, two seeds, one failure in about eighty.

    Equal arguments give equal records. The number of images grows with n; the last data set lacks entries where n does
    not fill it.
    """
    cells = [(e, b, s) for e in _ENTRIES for b in e.budgets for s in (SEEDS if e.column != "control" else SEEDS[:1])]
    images = max(1, math.ceil(n / (len(cells) * len(DATASETS))))
    return list(islice(_records(cells, images, seed), n))


def _records(cells: list[tuple[_Entry, dict[str, Any], int]], images: int, seed: int) -> Iterator[Record]:
    for number, (dataset, (entry, budget, run_seed)) in enumerate(product(DATASETS, cells)):
        for index in range(images):
            draw = random.Random(f"{seed}/{number}/{index}")
            yield _record(dataset, index, entry, budget, run_seed, draw)


def _record(
    dataset: str, index: int, entry: _Entry, budget: dict[str, Any], run_seed: int, draw: random.Random
) -> Record:
    sizes = DATASETS[dataset]
    height, width = sizes[index % len(sizes)]
    config, config_hash = _config(entry.method, entry.settings)
    asked = Budget(**budget)
    image = f"picture{index + 1:04d}"
    count = None if entry.column == "control" else asked.count(height, width)
    base: dict[str, Any] = {
        "experiment": f"synthetic_{dataset}",
        "dataset": dataset,
        "image": image,
        "pixel_sha256": _sha256(dataset, image),
        "height": height,
        "width": width,
        "entry": entry.id,
        "method": entry.method,
        "title": f"{entry.family}, {entry.column}",
        "family": entry.family,
        "column": entry.column,
        "config": config,
        "config_hash": config_hash,
        "budget": asked.as_dict(),
        "budget_slug": asked.slug,
        "n_target": count,
        "seed": run_seed,
        "provenance": _provenance(draw),
    }
    if entry.column != "control" and draw.random() < 1 / 80:
        status, reason = draw.choice(_FAILURES)
        return Record(**base, status=status, reason=reason)
    return Record(**base, **_results(base, entry, asked, count, draw))


def _results(
    base: dict[str, Any], entry: _Entry, budget: Budget, count: int | None, draw: random.Random
) -> dict[str, Any]:
    """What a run that succeeded adds: the size of its file, its quality and its times, in keeping with each other."""
    pixels = base["height"] * base["width"]
    size = _file_bytes(entry, budget, pixels, count, draw)
    quality = 100.0 if entry.id == "identity" else _psnr(base, entry, 8 * size / pixels, draw)
    seconds = (count or 2000) / 1000 * pixels / 400_000 * draw.uniform(0.9, 1.1)
    steps = budget.iterations
    name = f"{entry.id}-{base['config_hash']}/{base['dataset']}/{budget.slug}-s{base['seed']}/{base['image']}"
    return {
        "n_actual": count,
        "iterations": steps,
        "bytes": size,
        "bpp": 8 * size / pixels,
        "file": f"encodings/{name}.s2d",
        "file_sha256": _sha256(base["experiment"], name),
        "metrics": _metrics(quality),
        "encode_seconds": seconds,
        "encode_seconds_all": [seconds],
        "stage_seconds": {"initialise": 0.1 * seconds, "fit": 0.85 * seconds} if steps else {},
        "to_bytes_seconds": size / 5e6,
        "decode_seconds": pixels / 5e6 * draw.uniform(0.9, 1.1),
        "evaluate_seconds": pixels / 4e5,
        "peak_memory_mib": 300 + pixels / 3000,
        "curve": [
            (step, seconds * step / steps, {"psnr": quality - 14 * math.exp(-6 * step / steps)})
            for step in range(steps // 20, steps + 1, steps // 20)
        ]
        if steps
        else [],
    }


def _file_bytes(entry: _Entry, budget: Budget, pixels: int, count: int | None, draw: random.Random) -> int:
    if entry.id == "identity":
        return int(pixels * draw.uniform(1.2, 1.8))
    if budget.quality is not None:
        return int(pixels / 8 * 0.12 * math.exp(budget.quality / 32) * draw.uniform(0.8, 1.25))
    return int((count or 0) * entry.bits / 8 * draw.uniform(0.97, 1.03)) + 90


def _psnr(base: dict[str, Any], entry: _Entry, bpp: float, draw: random.Random) -> float:
    """Grows with the rate; an image is easy or hard for everybody, a little noise is the run's own."""
    per_gaussian = 1.0 if entry.column == "control" else entry.bits / 45
    image = random.Random(f"{base['dataset']}/{base['image']}").gauss(0, 2)
    value = 29.5 + 3.2 * math.log2(bpp / per_gaussian + 0.05) + entry.gain + image + draw.gauss(0, 0.12)
    return min(max(value, 12.0), 55.0)


def _metrics(psnr: float) -> dict[str, float | None]:
    loss = 0.0 if psnr == 100 else 10 ** (-psnr / 25)
    return {
        "psnr": psnr,
        "psnr_u8": psnr if psnr == 100 else psnr - 0.003,
        "ssim": 1 - 1.6 * loss,
        "ms_ssim": 1 - loss,
        "lpips_alex": 4 * loss,
    }


def _provenance(draw: random.Random) -> Provenance:
    return Provenance(
        commit="0123456789abcdef0123456789abcdef01234567",
        dirty=False,
        version="0.1.0",
        versions={"python": "3.11.7", "torch": "2.15.0", "numba": "0.68.1", "numpy": "2.4.6"},
        device="cpu",
        cpu="Example CPU 3000",
        cores=2,
        threads=2,
        load_average=round(draw.uniform(0.5, 2), 2),
        time=f"2026-06-{draw.randint(1, 28):02d}T12:{draw.randint(0, 59):02d}:00+00:00",
    )


@cache
def _config(method: str, settings: tuple[tuple[str, Any], ...]) -> tuple[dict[str, Any], str]:
    return configured(method, dict(settings))


def _sha256(*words: str) -> str:
    return hashlib.sha256("/".join(words).encode()).hexdigest()
