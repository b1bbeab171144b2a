"""What the comparison of pictures (reports/site/assets/compare.js) is given, on the site and by `splatbench view`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

#: Scripts of the component, in the order in which they run; below the assets folder.
SCRIPTS = (
    "s2d_blake2b.js",
    "s2d_entropy.js",
    "s2d_coders.js",
    "s2d_fields.js",
    "s2d_methods.js",
    "s2d.js",
    "draw_data.js",
    "draw_shaders.js",
    "draw_gpu.js",
    "draw.js",
    "draw_overlays.js",
    "compare-files.js",
    "compare-view.js",
    "compare-side.js",
    "compare-controls.js",
    "compare-notes.js",
    "compare.js",
)
STYLES = ("compare.css",)


@dataclass(frozen=True)
class Source:
    """One picture that can be chosen for a side.

    Attributes:
        id: differs between the sources of a comparison.
        label: what it is, with what tells it from others (Gaussians, rate, PSNR).
        group: sources of one group stand together in lists; those with a `stage` are steps of one result.
        image: address of its picture; None: there is none.
        file: key of its encoded file with Gaussians; None: there is none, and `why_no_file` says why.
        facts: (name, text); "PSNR" is announced with the stage.
    """

    id: str
    label: str
    group: str
    stage: str | None = None
    image: str | None = None
    file: str | None = None
    why_no_file: str | None = None
    facts: Sequence[tuple[str, str]] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "label": self.label,
            "group": self.group,
            "stage": self.stage,
            "image": self.image,
            "file": self.file,
            "why_no_file": self.why_no_file,
            "facts": [list(fact) for fact in self.facts],
        }


@dataclass(frozen=True)
class Comparison:
    """What `splatbench.compare` shows: pictures of width x height pixels, averaged down by `reduced` (1: in full).

    `left` and `right` are shown first; `original`, where there is one, is what errors are taken to.
    """

    title: str
    width: int
    height: int
    left: str
    right: str
    original: str | None = None
    reduced: int = 1
    sources: list[Source] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "width": self.width,
            "height": self.height,
            "reduced": self.reduced,
            "original": self.original,
            "left": self.left,
            "right": self.right,
            "sources": [source.as_dict() for source in self.sources],
        }
