"""A whole experiment's records without encoding anything: numbers are made up, but of the right kind and size."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from splatbench.budget import Budget
from splatbench.record import Provenance, Record

KODAK = [f"kodim{i:02d}.png" for i in range(1, 25)]
PIXELS = (512, 768)


def _provenance(minute: int) -> Provenance:
    return Provenance(
        commit="0123456789abcdef0123456789abcdef01234567",
        dirty=False,
        version="0.1.0",
        versions={"python": "3.11.2", "torch": "2.11.0", "numba": "0.65.0"},
        device="cpu",
        cpu="Example CPU 3000",
        cores=2,
        threads=2,
        load_average=1.2,
        time=f"2025-06-01T12:{minute % 60:02d}:00+00:00",
    )


def _record(**changes: Any) -> Record:
    """One record of a plausible GaussianImage fit on a Kodak image; everything can be changed."""
    budget = changes.pop("budget", {"gaussians": 28000, "iterations": 800})
    values: dict[str, Any] = {
        "experiment": "demo",
        "dataset": "kodak",
        "image": KODAK[0],
        "height": PIXELS[0],
        "width": PIXELS[1],
        "entry": "cholesky_published",
        "method": "gaussianimage",
        "title": "GaussianImage (Cholesky), as published",
        "family": "GaussianImage (Cholesky)",
        "column": "published",
        "config": {"variant": "cholesky", "iterations": 50000, "quantise": False, "qat_iterations": 300},
        "config_hash": "aaaaaaaa",
        "budget": budget,
        "budget_slug": Budget(**budget).slug,
        "n_target": budget.get("gaussians"),
        "n_actual": budget.get("gaussians"),
        "iterations": budget.get("iterations"),
        "bytes": 540_000,
        "metrics": {"psnr": 26.96, "ms_ssim": 0.914},
        "encode_seconds": 50.0,
        "encode_seconds_all": [50.0],
        "decode_seconds": 0.12,
        "evaluate_seconds": 0.5,
        "peak_memory_mib": 420.0,
        "provenance": _provenance(0),
    }
    values |= changes
    if values.get("bytes") is not None and "bpp" not in values:
        values["bpp"] = values["bytes"] * 8 / (values["height"] * values["width"])
    return Record(**values)


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    """Makes one record; keyword arguments replace its fields."""
    return _record


def _fitted(entry: str, family: str, column: str, n: int, base: float, config: dict[str, Any]) -> list[Record]:
    """24 images around a mean PSNR, exactly: the scatter of the images sums to zero."""
    scatter = [random.Random(f"{image}").gauss(0, 1.3) for image in KODAK]
    mean = sum(scatter) / len(scatter)
    records = []
    for i, image in enumerate(KODAK):
        quality = base + scatter[i] - mean
        quantised = config.get("quantise", False)
        size = int(n * (6.4 if quantised else 18.7) * (1 + 0.01 * math.sin(i)))
        curve = [(s, 0.06 * s, {"psnr": quality - 14 * math.exp(-s / 160)}) for s in range(20, 801, 20)]
        records.append(
            _record(
                image=image,
                entry=entry,
                family=family,
                title=f"{family}, {column}",
                column=column,
                config=config,
                config_hash=f"{entry}-hash",
                budget={"gaussians": n, "iterations": 800},
                bytes=size,
                nominal_bpp=(56 * n + 1728) / (PIXELS[0] * PIXELS[1]) if quantised else None,
                metrics={
                    "psnr": quality,
                    "psnr_u8": quality - 0.004,
                    "ms_ssim": 1 - 10 ** (-quality / 25),
                    "lpips_vgg": None,
                },
                metrics_not_run={"lpips_vgg": "the weights are not here; get them: splatbench weights fetch lpips_vgg"},
                encode_seconds=n / 600 + i / 10,
                curve=curve,
                provenance=_provenance(i),
            )
        )
    return records


def _controls() -> list[Record]:
    records = []
    for i, image in enumerate(KODAK):
        for quality, psnr, bpp in ((10, 26.1, 0.22), (30, 29.6, 0.45), (60, 32.1, 0.75), (90, 37.8, 2.1)):
            metrics = {"psnr": psnr + 0.2 * math.cos(i), "ms_ssim": 0.9 + quality / 1000}
            size = int(bpp * PIXELS[0] * PIXELS[1] / 8)
            common = {"column": "control", "config": {}, "n_target": None, "n_actual": None, "iterations": None}
            records.append(
                _record(image=image, entry="jpeg", family="JPEG", title="JPEG", method="jpeg",
                        budget={"quality": quality}, metrics=metrics, bytes=size, encode_seconds=0.01, **common)
            )  # fmt: skip
        records.append(
            _record(image=image, entry="identity", family="Identity (lossless PNG)", title="Identity",
                    method="identity", budget={"native": True}, metrics={"psnr": 100.0, "ms_ssim": 1.0}, bytes=610_000,
                    encode_seconds=0.05, **common)
        )  # fmt: skip
        records.append(
            _record(image=image, entry="random_gaussians", family="Gaussians at random", title="Gaussians at random",
                    method="random_gaussians", budget={"gaussians": 28000}, metrics={"psnr": 17.2, "ms_ssim": 0.5},
                    encode_seconds=0.02, column="control", config={}, iterations=None)
        )  # fmt: skip
    return records


@pytest.fixture(scope="session")
def experiment_records() -> list[Record]:
    """Kodak, 24 images: two variants, two columns, two counts; a codec; a failure, a miss of the target, a missing data
    set; snapshots; controls."""
    plain = {"variant": "cholesky", "iterations": 50000, "quantise": False, "qat_iterations": 300}
    coded = plain | {"quantise": True}
    cholesky, rs = "GaussianImage (Cholesky)", "GaussianImage (RS)"
    records = [
        *_fitted("cholesky_published", cholesky, "published", 28000, 26.96, plain),
        *_fitted("cholesky_published", cholesky, "published", 37000, 29.00, plain),
        *_fitted("cholesky_corrected", cholesky, "corrected", 28000, 27.16, plain),
        *_fitted("cholesky_corrected", cholesky, "corrected", 37000, 29.35, plain),
        *_fitted("rs_published", rs, "published", 28000, 27.18, plain | {"variant": "rs"}),
        *_fitted("rs_corrected", rs, "corrected", 28000, 27.38, plain | {"variant": "rs"}),
        *_fitted("quantised", "GaussianImage (Cholesky, quantised)", "corrected", 28000, 26.9, coded),
        *_fitted("adaptive", "Self-counting method", "ours", 28000, 28.0, {}),
        *_controls(),
    ]
    for i, item in enumerate(records):
        if (item.entry, item.budget.get("gaussians")) == ("rs_corrected", 28000):
            if item.image == "kodim05.png":
                records[i] = item.model_copy(update=_failed("diverged", "loss became nan at step 312 of 800"))
            if item.image == "kodim08.png":
                records[i] = item.model_copy(update=_failed("out_of_memory", "killed at 4096 MiB; give it more memory"))
        if item.entry == "adaptive":
            records[i] = item.model_copy(update={"n_actual": 28900 if item.image == "kodim03.png" else 28010})
    snapshots = [
        item.model_copy(update={"snapshot": "400", "iterations": 400, "metrics": {"psnr": item.metrics["psnr"] - 6}})
        for item in records
        if item.entry == "cholesky_corrected" and item.budget["gaussians"] == 28000
    ]
    missing = [
        _record(
            dataset="div2k_valid_x2",
            image=f"{i:04d}x2.png",
            **_failed("not_run", "splatbench data fetch div2k_valid_x2"),
        )
        for i in range(801, 804)
    ]
    return [*records, *snapshots, *missing]


def _failed(status: str, reason: str) -> dict[str, Any]:
    """What a record of a failure lacks."""
    return {
        "status": status,
        "reason": reason,
        "metrics": {},
        "metrics_not_run": {},
        "bytes": None,
        "bpp": None,
        "encode_seconds": None,
        "decode_seconds": None,
        "evaluate_seconds": None,
        "curve": [],
    }
