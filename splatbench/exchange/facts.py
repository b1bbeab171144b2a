"""What a file of named arrays says about itself: the conventions of its numbers. The table is in docs/import.md."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from splatbench.exchange.errors import ExchangeError, twice
from splatbench.gaussians import TOPK_MIN_RESPONSE, Blend

VERSION: Final = 1
#: Characters of the facts' JSON; room for everything that is meant, with long notes.
MAX_CHARACTERS = 1 << 16
MAX_PIXELS = 1 << 31
#: Of the facts that are wrong, so many are named.
MAX_SENTENCES = 8


def _printable(text: str) -> str:
    """Texts are shown on terminals and pages: no control characters, no change of writing direction."""
    if not text.isprintable():
        raise ValueError("holds characters that cannot be printed")
    return text


Text = Annotated[str, Field(max_length=1000), AfterValidator(_printable)]
Side = Annotated[int, Field(ge=1, le=MAX_PIXELS)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class TopkFacts(_Strict):
    """The numbers of blend `topk`; fields as in `splatbench.gaussians.TopkSettings`."""

    k: int = Field(ge=1, le=1 << 16)
    epsilon: float
    min_response: float = TOPK_MIN_RESPONSE


class Facts(_Strict):
    """Conventions and origin of the arrays of a file. What only some files need is None where it is not stated.

    Attributes:
        version: of this format.
        size: (H, W) of the picture in pixels.
        blend: as in Gaussians2D.
        coordinates: of the means: "pixels"; "unit", 0 to 1 over the whole side; "ndc", -1 to 1 over the whole side.
        pixel_centers: where a renderer samples the pixel in row i and column j, in pixels: "half" at
            (j + 0.5, i + 0.5), "integer" at (j, i).
        axes: order of the coordinates of means and of the entries of cholesky, covariance and conic.
        lengths: what covariances are measured in, where that is not pixels anyway: "pixels", or the units of
            `coordinates` (which differ between x and y).
        scales: what the array `scales` holds: of standard deviations s: s, s^2, 1 / s or ln s.
        angle_unit, angle_direction: of the array `angles`. The first scale lies along +x at angle 0; a positive angle
            turns it towards +y (down) or away from it.
        colors: what is full intensity: 1 or 255.
        opacities: what the array `opacities` holds: values in [0, 1], or their logits.
        order: of the Gaussians of blend `alpha`.
        background: behind blend `alpha`, in all channels, 0 to 1.
        topk: the numbers of blend `topk`.
        gamma, compat: as in Gaussians2D.
        method: name of the method. source: version or commit of the code that made the file.
        nominal_bits: by the method's own formula. encode_seconds: as measured there. seed, notes: for the record.
    """

    version: Literal[1]
    size: tuple[Side, Side]
    blend: Blend
    coordinates: Literal["pixels", "unit", "ndc"]
    pixel_centers: Literal["half", "integer"]
    axes: Literal["xy", "yx"]
    colors: Literal["unit", "byte"]
    lengths: Literal["pixels", "coordinates"] | None = None
    scales: Literal["standard_deviation", "variance", "inverse", "log"] | None = None
    angle_unit: Literal["radians", "degrees"] | None = None
    angle_direction: Literal["x_to_y", "y_to_x"] | None = None
    opacities: Literal["linear", "logit"] | None = None
    order: Literal["front_to_back", "back_to_front"] | None = None
    background: float | None = None
    topk: TopkFacts | None = None
    gamma: float = Field(default=1.0, gt=0)
    compat: tuple[str, ...] = Field(default=(), max_length=16)
    method: Text = ""
    source: Text = ""
    nominal_bits: int | None = Field(default=None, ge=0, lt=1 << 63)
    encode_seconds: float | None = Field(default=None, ge=0)
    seed: int | None = Field(default=None, ge=-(1 << 63), lt=1 << 63)
    notes: Text = ""


def parse(text: str) -> Facts:
    """The facts of their JSON text.

    Raises:
        ExchangeError: not a JSON object; a fact that is missing, unknown, given twice, or has no such value. The
            sentence lists the choices.
    """
    if len(text) > MAX_CHARACTERS:
        raise ExchangeError(f"the facts have {len(text)} characters; at most {MAX_CHARACTERS} are read")
    try:
        json.loads(text, object_pairs_hook=_once)
        return Facts.model_validate_json(text)
    except ExchangeError:
        raise
    except ValidationError as error:
        sentences = dict.fromkeys(_sentence(detail) for detail in error.errors()[:MAX_SENTENCES])
        raise ExchangeError("; ".join(sentences)) from None
    except (ValueError, RecursionError) as error:
        raise ExchangeError(f"the facts are not a JSON object: {error}") from None


def dump(facts: Facts) -> str:
    """The JSON text that `parse` reads; equal facts give equal text."""
    return json.dumps(facts.model_dump(mode="json", exclude_defaults=True), sort_keys=True)


def choices(name: str) -> str:
    """What a fact may be, for messages."""
    found: list[str] = []
    _literals(Facts.model_fields[name].annotation, found)
    if found:
        return ", ".join(found)
    return {"size": "[height, width]", "topk": '{"k": ..., "epsilon": ...}'}.get(name, "a number")


def _literals(annotation: Any, found: list[str]) -> None:
    for part in get_args(annotation):
        if isinstance(part, str | int):
            found.append(json.dumps(part))
        else:
            _literals(part, found)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if doubled := twice(name for name, _ in pairs):
        raise ExchangeError(f"the fact {doubled!r} is given twice")
    return dict(pairs)


def _sentence(detail: Any) -> str:
    where, top = ".".join(map(str, detail["loc"])), str(detail["loc"][0]) if detail["loc"] else ""
    if detail["type"] == "extra_forbidden":
        known = Facts if len(detail["loc"]) == 1 else TopkFacts
        return f"unknown fact {where!r} (known: {', '.join(known.model_fields)})"
    if detail["type"] == "missing":
        return f"the fact {where!r} is missing; state one of: {choices(top)}"
    if detail["type"] == "literal_error":
        return f"the fact {where!r} is {str(detail['input'])[:80]!r}; it must be one of: {choices(top)}"
    return f"the fact {where!r}: {detail['msg']}" if where else f"the facts are not a JSON object: {detail['msg']}"
