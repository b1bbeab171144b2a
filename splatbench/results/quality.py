"""Whether metrics can be of one picture: what each says limits what the others may say."""

from __future__ import annotations

from collections.abc import Iterator

from splatbench.metrics import REGISTRY
from splatbench.metrics.psnr import CAP
from splatbench.record import Record
from splatbench.results.findings import Finding

#: Values at the ends of a metric's range may be beyond them by float arithmetic.
SLACK = 1e-6

#: dB above which a lossy picture of a photograph is hardly believable, and float32 may round a similarity to 1. Below,
#: 1 - SSIM of a window is at least a quarter of its mean squared error: more than 1e-7, and 2e-4 on photographs.
_NEARLY_EXACT = 60.0

#: Rounding to 8 bits moves a value of [0, 1] by at most this; by the triangle inequality also the root mean square
#: error.
_HALF_LEVEL = 0.5 / 255

_DISTANCES = ("lpips_alex", "lpips_vgg", "flip")

#: At the cap of PSNR the mean squared error is at most 1e-10. 1 - SSIM is at most that, divided by the constant 1e-4 of
#: its luminance term, and times the pixels per window (121 at the coarsest scale of the smallest picture); float32 adds
#: up to 1e-4. So this is a wide margin.
_SIMILAR_AT_CAP = 0.999

#: (1 - similarity) / root mean square error: lowest and highest that are not remarked on. Of the 2402 published lossy
#: results, SSIM has 0.91 to 10.4 and MS-SSIM 0.090 to 6.1; the limits are four times wider on both sides. So nothing
#: below a shift of 12 dB is found, and all from 33 dB on.
_DISSIMILARITY = {"ssim": (0.22, 42.0), "ms_ssim": (0.022, 25.0)}


def of_metrics(record: Record) -> Iterator[Finding]:
    """Contradictions between the metrics of a record; metrics out of their ranges are passed over."""
    values = {
        name: value
        for name, value in record.metrics.items()
        if value is not None and name in REGISTRY and within(value, *REGISTRY[name].bounds)
    }
    if "psnr" not in values:
        return
    psnr = values["psnr"]
    rounded = values.get("psnr_u8")
    if rounded is not None and abs(_error(psnr) - _error(rounded)) > _HALF_LEVEL + SLACK:
        yield Finding("metric", f"psnr {psnr:.2f} and psnr_u8 {rounded:.2f} differ by more than rounding to 8 bits can")
    if psnr <= _NEARLY_EXACT:
        yield from _differs(psnr, values)
    elif record.column != "control":
        text = f"psnr {psnr:.2f} dB is nearly lossless; is the picture that was measured the decoded one?"
        yield Finding("metric", text, warning=True)
    if psnr >= CAP:
        yield from _equal(values)


def within(value: float, lowest: float | None, highest: float | None) -> bool:
    """Whether a value is in a range, up to float arithmetic; None: no limit."""
    return (lowest is None or value >= lowest - SLACK) and (highest is None or value <= highest + SLACK)


def _error(psnr: float) -> float:
    """Root mean square error of values in [0, 1]."""
    return float(10 ** (-psnr / 20))


def _differs(psnr: float, values: dict[str, float]) -> Iterator[Finding]:
    """What cannot be of a picture that differs from its original."""
    for name in _DISTANCES:
        if values.get(name, 1.0) <= 0:
            text = f"{name} is 0, as of an exact copy, but psnr {psnr:.2f} dB is of another picture"
            yield Finding("metric", f"{text}; evaluate both again")
    for name, (lowest, highest) in _DISSIMILARITY.items():
        if (value := values.get(name)) is None:
            continue
        if value >= 1:
            text = f"{name} is {value:g}, as of an exact copy, but psnr {psnr:.2f} dB is of another picture"
            yield Finding("metric", f"{text}; evaluate both again")
        elif not lowest <= (1 - value) / _error(psnr) <= highest:
            text = f"{name} {value:.4f} is far from what pictures of psnr {psnr:.2f} dB have"
            yield Finding("metric", f"{text}; are both of this picture?", warning=True)


def _equal(values: dict[str, float]) -> Iterator[Finding]:
    """What cannot be of an exact copy."""
    for name in _DISSIMILARITY:
        if values.get(name, 1.0) < _SIMILAR_AT_CAP:
            text = f"psnr {CAP:g} dB is of an exact copy, but {name} is {values[name]:.4f}; evaluate both again"
            yield Finding("metric", text)
