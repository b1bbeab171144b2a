"""From named arrays in stated conventions to Gaussians2D, and back. Arithmetic in float64, rounded once; so many
Gaussians at a time, since float64 takes eight times what a file's bytes do."""

from __future__ import annotations

import numpy as np

from splatbench.codec.dispatch import MAX_MAGNITUDE
from splatbench.exchange.covariance import READERS, Arrays, refuse
from splatbench.exchange.errors import BadValues, ExchangeError
from splatbench.exchange.facts import VERSION, Facts, TopkFacts, choices
from splatbench.exchange.limits import COLUMNS, check_declared
from splatbench.exchange.reading import NamedArrays
from splatbench.gaussians import COMPAT_FLAGS, Gaussians2D, TopkSettings

#: Gaussians that are converted at a time.
BLOCK = 1 << 16
#: The ways to give a covariance: names of the arrays that belong together.
FORMS = (("scales", "angles"), ("cholesky",), ("covariance",), ("conic",))

#: Flags of `splatbench.gaussians.COMPAT_FLAGS` that a blend can be drawn with.
_COMPAT = {"sum": COMPAT_FLAGS, "topk": ("tiles_3sigma",), "alpha": ()}


def to_gaussians(named: NamedArrays, size: tuple[int, int]) -> Gaussians2D:
    """The Gaussians of named arrays, in this project's conventions.

    Args:
        size: (H, W) of the picture that they are for, in pixels.

    Returns:
        float32; with scales and angles where the file has them in pixels, else with a Cholesky factor. Numbers that
        are in this project's conventions already come through unchanged.

    Raises:
        ExchangeError: another size; arrays or facts that are missing, or do not belong together; values that are NaN,
            infinite, beyond 2^30 or out of their range, covariances that are not positive definite (naming the array
            and the first Gaussians).
    """
    import torch

    facts = named.facts
    if facts.size != tuple(size):
        given, wanted = (f"{width}x{height}" for height, width in (facts.size, size))
        raise ExchangeError(f"the file is for a picture of {given} pixels (width x height), this one has {wanted}")
    form = _form(named.arrays)
    _check_facts(facts, named.arrays)
    check_declared({name: (values.dtype, values.shape) for name, values in named.arrays.items()})
    fields = _converted(named.arrays, facts, form[0])
    tensors = {name: torch.from_numpy(values) for name, values in fields.items()}
    try:
        topk = TopkSettings(**facts.topk.model_dump()) if facts.topk else TopkSettings()
        return Gaussians2D(
            **tensors,  # type: ignore[arg-type]
            size=facts.size,
            blend=facts.blend,
            compat=frozenset(facts.compat),
            topk=topk,
            gamma=facts.gamma,
            background=facts.background or 0.0,
        )
    except ValueError as error:
        raise ExchangeError(str(error)) from error


def from_gaussians(gaussians: Gaussians2D, **told: object) -> NamedArrays:
    """The arrays and facts of Gaussians, float32, in this project's conventions.

    Args:
        told: facts about their origin (method, source, nominal_bits, encode_seconds, seed, notes).

    Raises:
        ValueError: a fact that there is not, or that has no such value.
    """
    arrays = {name: value.cpu().numpy() for name, value in gaussians.detach().tensors().items()}
    angles, alpha, topk = "angles" in arrays, gaussians.blend == "alpha", gaussians.topk
    facts = Facts(
        version=VERSION,
        size=gaussians.size,
        blend=gaussians.blend,
        coordinates="pixels",
        pixel_centers="half",
        axes="xy",
        colors="unit",
        scales="standard_deviation" if angles else None,
        angle_unit="radians" if angles else None,
        angle_direction="x_to_y" if angles else None,
        opacities="linear" if "opacities" in arrays else None,
        order="front_to_back" if alpha else None,
        background=gaussians.background if alpha else None,
        topk=TopkFacts(k=topk.k, epsilon=topk.epsilon, min_response=topk.min_response)
        if gaussians.blend == "topk"
        else None,
        gamma=gaussians.gamma,
        compat=tuple(sorted(gaussians.compat)),
        **told,  # type: ignore[arg-type]
    )
    return NamedArrays(arrays, facts)


# -- what belongs together ---------------------------------------------------------------------------------------------
def _form(arrays: Arrays) -> tuple[str, ...]:
    for required in ("means", "colors"):
        if required not in arrays:
            raise ExchangeError(f"the array {required!r} is missing")
    present = [form for form in FORMS if any(name in arrays for name in form)]
    ways = "; ".join(" and ".join(form) for form in FORMS)
    if len(present) != 1:
        raise ExchangeError(f"give the covariance in one way, not {len(present)}: {ways}")
    if missing := [name for name in present[0] if name not in arrays]:
        raise ExchangeError(f"the array {missing[0]!r} is missing; ways to give the covariance: {ways}")
    return present[0]


def _check_facts(facts: Facts, arrays: Arrays) -> None:
    """Every convention that the arrays need is stated, and none that belongs to something else."""
    wanted = {
        "scales": ("scales" in arrays, "the array 'scales'"),
        "angle_unit": ("angles" in arrays, "the array 'angles'"),
        "angle_direction": ("angles" in arrays, "the array 'angles'"),
        "opacities": ("opacities" in arrays, "the array 'opacities'"),
        "lengths": (facts.coordinates != "pixels", "coordinates other than pixels"),
        "order": (facts.blend == "alpha", "blend 'alpha'"),
        "background": (facts.blend == "alpha", "blend 'alpha'"),
        "topk": (facts.blend == "topk", "blend 'topk'"),
    }
    for name, (needed, what) in wanted.items():
        stated = getattr(facts, name) is not None
        if needed and not stated:
            raise ExchangeError(f"the fact {name!r} is missing, which {what} needs; state one of: {choices(name)}")
        if stated and not needed and name != "lengths":
            raise ExchangeError(f"the fact {name!r} belongs to {what}, and the file has none")
    if "opacities" in arrays and facts.blend != "alpha":
        raise ExchangeError(f"blend {facts.blend!r} takes no opacities: multiply them into the colours")
    if odd := sorted(set(facts.compat) - set(_COMPAT[facts.blend])):
        known = ", ".join(_COMPAT[facts.blend]) or "none"
        raise ExchangeError(f"blend {facts.blend!r} knows no compat flag {odd[0]!r} (known: {known})")


# -- block by block ----------------------------------------------------------------------------------------------------
def _converted(arrays: Arrays, facts: Facts, form: str) -> dict[str, np.ndarray]:
    """The fields of Gaussians2D, float32, in the order of drawing."""
    n = len(arrays["means"])
    made: dict[str, np.ndarray] = {}
    step = -1 if facts.order == "back_to_front" else 1
    for begin in range(0, n, BLOCK):
        end = min(begin + BLOCK, n)
        try:
            fields = _block({name: values[begin:end] for name, values in arrays.items()}, facts, form)
        except BadValues as bad:
            raise BadValues(bad.name, bad.rows + begin, bad.why, among=end if end < n else None) from None
        for name, values in fields.items():
            if name not in made:
                made[name] = np.empty((n, *values.shape[1:]), np.float32)
            made[name][::step][begin:end] = values
    return made


def _block(arrays: Arrays, facts: Facts, form: str) -> dict[str, np.ndarray]:
    """The fields of some Gaussians, float32."""
    arrays = {name: _float64(name, values) for name, values in arrays.items()}
    with np.errstate(all="ignore"):  # what overflows is found below
        fields = {"means": _means(arrays["means"], facts), "colors": _colors(arrays["colors"], facts)}
        if "opacities" in arrays:
            fields["opacities"] = _opacities(arrays["opacities"][:, 0], facts)
        fields |= READERS[form](arrays, facts)
        rounded = {name: values.astype(np.float32) for name, values in fields.items()}
    _check_values(rounded, form)
    return rounded


def _float64(name: str, values: np.ndarray) -> np.ndarray:
    """[N, columns], finite; of a shape that `check_declared` has accepted."""
    values = values.reshape(len(values), COLUMNS[name] or values.shape[1]).astype(np.float64)
    refuse(name, ~np.isfinite(values), "NaN or infinite")
    return values


# -- one quantity each -------------------------------------------------------------------------------------------------
def _means(means: np.ndarray, facts: Facts) -> np.ndarray:
    """[N, 2] (x, y) in pixels, centres of pixels at halves."""
    means = means[:, ::-1] if facts.axes == "yx" else means
    sides = np.array(facts.size[::-1], np.float64)
    if facts.coordinates == "unit":
        means = means * sides
    elif facts.coordinates == "ndc":
        means = (means + 1) / 2 * sides
    return means + 0.5 if facts.pixel_centers == "integer" else means


def _colors(colors: np.ndarray, facts: Facts) -> np.ndarray:
    return colors / 255 if facts.colors == "byte" else colors


def _opacities(opacities: np.ndarray, facts: Facts) -> np.ndarray:
    if facts.opacities == "logit":
        return 1 / (1 + np.exp(-opacities))
    refuse("opacities", (opacities < 0) | (opacities > 1), "outside [0, 1]")
    return opacities


def _check_values(fields: Arrays, form: str) -> None:
    """What is left after rounding has to be drawable: finite, not beyond what files hold, with an area."""
    for name, values in fields.items():
        given = form if name in ("scales", "cholesky") else name
        refuse(given, ~(np.abs(values) <= MAX_MAGNITUDE), f"beyond 2^30 as {name} in pixels")
        if name in ("scales", "cholesky"):
            diagonal = values if name == "scales" else values[:, ::2]
            refuse(given, diagonal == 0, "so small that float32 makes them 0")
