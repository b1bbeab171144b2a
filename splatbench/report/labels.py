"""How quantities are called and written: headings, digits, budgets, columns. Text for people, not for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from splatbench.metrics import RATES, REGISTRY

#: What a column of our table means; the paper's numbers are a column of their own.
COLUMN_TITLES = {
    "published": "as published",
    "corrected": "corrected",
    "ours": "ours",
    "official": "authors' code",
    "external": "other code",
    "control": "control",
}

MISSING = "–"

#: Digits for any finite float with nine after the point.
_EXACT = Context(prec=400)


@dataclass(frozen=True)
class Quantity:
    """A measured column that is not a picture metric."""

    heading: str
    meaning: str


#: Means over images of these stand beside the metrics.
QUANTITIES = {
    "n_actual": Quantity("N", "Gaussians in the decoded file."),
    "bytes": Quantity("Bytes", "Length of the compressed file."),
    "bpp": Quantity("Rate, real [bit/pixel]", RATES["bpp"].meaning),
    "nominal_bpp": Quantity("Rate, nominal [bit/pixel]", RATES["nominal_bpp"].meaning),
    "encode_seconds": Quantity("Encode [s]", "Wall time of encoding alone, after a warm-up; median over repeats."),
    "to_bytes_seconds": Quantity("To bytes [s]", "Wall time from the encoding to the file's bytes."),
    "decode_seconds": Quantity("Decode [s]", "Wall time from bytes to pixels, in another process than the encoder."),
    "evaluate_seconds": Quantity("Evaluate [s]", "Wall time of decoding and all metrics."),
    "peak_memory_mib": Quantity("Peak memory [MiB]", "Largest resident memory of the encoding process."),
    "energy_joules": Quantity(
        "Energy [J]",
        "Energy of the whole device while encoding, read from its counter (RAPL, NVML); idle power included.",
    ),
}

#: Digits after the point. Times are written with three significant digits instead.
DECIMALS = {
    "psnr": 2,
    "psnr_u8": 2,
    **dict.fromkeys((name for name in REGISTRY if not name.startswith("psnr")), 4),
    "bpp": 3,
    "nominal_bpp": 3,
    "n_actual": 0,
    "bytes": 0,
    "peak_memory_mib": 0,
}


def heading(name: str) -> str:
    """Column heading of a metric or quantity, with unit and direction."""
    if name in REGISTRY:
        return REGISTRY[name].heading
    return QUANTITIES[name].heading if name in QUANTITIES else name


def meaning(name: str) -> str:
    if name in REGISTRY:
        return REGISTRY[name].meaning
    return QUANTITIES[name].meaning if name in QUANTITIES else ""


def number(value: float | None, name: str, decimals: Mapping[str, int] | None = None) -> str:
    """A value of a column as text; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    digits = (decimals or {}).get(name, DECIMALS.get(name))
    if digits is None:
        return significant(value)
    return fixed(value, digits)


def fixed(value: float, digits: int) -> str:
    """A finite number with narrow spaces between thousands, a real minus and so many digits after the point.

    Halves are rounded away from zero, as `toFixed` of the site's scripts does; Python's formats round them to even.
    """
    rounded = Decimal(float(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, _EXACT)
    text = f"{abs(rounded):,f}".replace(",", "\u202f")
    return "−" + text if rounded < 0 else text


def significant(value: float, digits: int = 3) -> str:
    """Three significant digits without an exponent, for times from microseconds to days."""
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return fixed(value, min(places, 9))


def signed(value: float | None, name: str, decimals: Mapping[str, int] | None = None) -> str:
    """A deviation, with its sign."""
    if value is None:
        return MISSING
    text = number(abs(value), name, decimals)
    is_zero = not any(character in "123456789" for character in text)
    return "0" if is_zero else ("+" if value > 0 else "−") + text


def count(value: float | int) -> str:
    """1234567 -> "1 234 567" with narrow spaces."""
    return fixed(value, 0)


def budget_label(budget: Mapping[str, Any], iterations: bool = True) -> str:
    """ "N = 28 000", "CR 50", "0.5 bit/pixel", "quality 75", "32 dB", "counts of air" or "native", with its start and
    its limits."""
    text = target_label(budget)
    if budget.get("warm"):
        text += ", from its Gaussians"
    if iterations and budget.get("iterations"):
        text += f", {count(budget['iterations'])} iterations"
    if budget.get("seconds"):
        text += f", at most {budget['seconds']:g} s"
    return text


def target_label(budget: Mapping[str, Any]) -> str:
    """The target alone, without limits on iterations or time."""
    if budget.get("gaussians") is not None:
        return f"N = {count(budget['gaussians'])}"
    if budget.get("compression_ratio") is not None:
        return f"CR {budget['compression_ratio']:g}"
    if budget.get("bpp") is not None:
        return f"{budget['bpp']:g} bit/pixel"
    if budget.get("quality") is not None:
        return f"quality {budget['quality']}"
    if budget.get("psnr") is not None:
        return f"{budget['psnr']:g} dB"
    if budget.get("matched_to"):
        return f"counts of {budget['matched_to']}"
    return "native"
