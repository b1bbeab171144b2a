"""One encoded file as one HTML page that needs nothing else: `splatbench view`."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from splatbench.report.labels import count, heading, number
from splatbench.report.pictures import decoded_strips, lossless_webp, reduce, reduce_in_strips
from splatbench.report.reference import reports_folder
from splatbench.site.build import make_environment
from splatbench.site.compare import SCRIPTS, STYLES, Comparison, Source
from splatbench.site.pictures import file_script
from splatbench.site.sources import ORIGINAL, original_source

if TYPE_CHECKING:
    from splatbench.method import Decoded

#: Pictures with a longer side are averaged down for the page; Gaussians are drawn in full.
MAX_SIDE = 2048
METRICS = ("psnr", "ms_ssim")
_TEMPLATE = "view.html.j2"
_STYLES = ("site.css", *STYLES)
_SCRIPTS = ("common.js", *SCRIPTS, "view.js")


@dataclass
class _Shown:
    """What is known of a file: its decoded picture and what is measured of it.

    Attributes:
        groups: channels of each texture; the first one is shown.
    """

    name: str
    data: bytes
    suffix: str
    decoded: Decoded
    size: tuple[int, int]
    groups: tuple[int, ...]
    measured: dict[str, float] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)

    @property
    def factor(self) -> int:
        return -(-max(self.size) // MAX_SIDE)

    @property
    def has_gaussians(self) -> bool:
        return not isinstance(self.decoded, np.ndarray)


def view_page(file: Path, original: Path | None = None) -> str:
    """The page of an encoded file, beside its original if that is given. Equal files give equal pages.

    Args:
        file: a .s2d file, or a picture file of a control (JPEG, PNG ...).
        original: the picture that was encoded, or the folder of textures.

    Raises:
        ValueError: a file that cannot be decoded, or an original that cannot be read or has another size.
        OSError: a file that cannot be read.
    """
    shown = _read(file)
    sources = [] if original is None else [_compare_with(shown, original)]
    sources.append(_decoded_source(shown))
    if shown.has_gaussians:
        sources.append(_gaussians_source(shown))
    height, width = shown.size
    comparison = Comparison(
        title=f"Pictures of {shown.name}",
        width=width,
        height=height,
        left="decoded" if shown.has_gaussians else sources[0].id,
        right=sources[-1].id,
        original=ORIGINAL if original is not None else None,
        reduced=shown.factor,
        sources=sources,
    )
    return _render(shown, comparison)


def _read(file: Path) -> _Shown:
    from splatbench.codec import channel_groups, decode

    if not file.is_file():
        raise ValueError(f"{file} is not a file; give an encoded file, such as `splatbench fit` writes")
    data = file.read_bytes()
    try:
        decoded = decode(data, file.suffix)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    size = decoded.shape[:2] if isinstance(decoded, np.ndarray) else decoded.size
    channels = decoded.shape[2] if isinstance(decoded, np.ndarray) else _channels(decoded)
    groups = channel_groups(data, channels) if file.suffix == ".s2d" else (channels,)
    return _Shown(file.name, data, file.suffix, decoded, (size[0], size[1]), groups)


def _channels(decoded: Decoded) -> int:
    """Of layers three: no method composes pictures of other channels."""
    return int(getattr(decoded, "colors", np.empty((0, 3))).shape[1])


def _compare_with(shown: _Shown, path: Path) -> Source:
    """The source of the original; what it lets us measure goes into `shown`."""
    from splatbench.datasets import load_picture
    from splatbench.runner.scoring import score

    if not path.exists():
        raise ValueError(f"{path} is not there; give the picture that was encoded with --original")
    pixels = load_picture(path).pixels
    if pixels.shape != (*shown.size, sum(shown.groups)):
        raise ValueError(
            f"{path} has {_extent(pixels.shape)}, {shown.name} holds {_extent((*shown.size, sum(shown.groups)))}; "
            "give the picture that was encoded"
        )
    result = score(shown.data, pixels, METRICS, shown.suffix)
    shown.measured, shown.not_run = dict(result.values), dict(result.not_run)
    picture = reduce_in_strips(_displayed(pixels, shown.groups), shown.factor)
    return replace(original_source(_data_url(picture), *shown.size), facts=())


def _extent(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} pixels of {shape[2]} channel{'s' if shape[2] > 1 else ''}"


def _displayed(pixels: np.ndarray, groups: tuple[int, ...]) -> np.ndarray:
    """uint8 [H, W, 3] of a picture [H, W, C]: its first texture; one channel as grey."""
    first = pixels[..., : 3 if groups[0] >= 3 else 1]
    return first if first.shape[2] == 3 else np.repeat(first, 3, axis=2)


def _data_url(pixels: np.ndarray) -> str:
    return f"data:image/webp;base64,{base64.b64encode(lossless_webp(pixels)).decode()}"


def _decoded_source(shown: _Shown) -> Source:
    parts = [
        reduce(_displayed(strip, shown.groups), shown.factor)
        for _, strip in decoded_strips(shown.decoded, shown.factor)
    ]
    return Source(
        id="decoded",
        label="Decoded pixels",
        group="Decoded pixels",
        image=_data_url(np.concatenate(parts)),
        file=_key(shown) if shown.has_gaussians else None,
        why_no_file=None if shown.has_gaussians else "the file holds pixels, not Gaussians",
    )


def _gaussians_source(shown: _Shown) -> Source:
    return Source(
        id="gaussians",
        label="Gaussians",
        group="Gaussians",
        file=_key(shown),
    )


def _key(shown: _Shown) -> str:
    return hashlib.sha256(shown.data).hexdigest()


def _facts(shown: _Shown) -> list[tuple[str, str]]:
    from splatbench.metrics import bits_per_pixel

    height, width = shown.size
    facts = [("Method", _method_title(shown)), ("Size", f"{width} × {height} pixels")]
    if not isinstance(shown.decoded, np.ndarray):
        facts += [("Gaussians", count(len(shown.decoded))), ("Blend", _blend(shown.decoded))]
    if len(shown.groups) > 1:
        facts.append(("Textures", f"{len(shown.groups)}, of which the first is shown"))
    rate = bits_per_pixel(8 * len(shown.data), height, width)
    facts += [("File", f"{count(len(shown.data))} bytes"), ("Rate", f"{number(rate, 'bpp')} bit/pixel")]
    facts += [(heading(name), number(value, name)) for name, value in shown.measured.items()]
    facts += [(heading(name), f"not run: {why}") for name, why in shown.not_run.items()]
    return facts


def _method_title(shown: _Shown) -> str:
    from splatbench.codec import peek_method
    from splatbench.codec.picture_headers import picture_format
    from splatbench.method import get_method

    return get_method(peek_method(shown.data)).title if shown.suffix == ".s2d" else picture_format(shown.data)


def _blend(decoded: Decoded) -> str:
    blend = getattr(decoded, "blend", None)
    if blend is None:
        return "levels of resolution, added up"
    words = {"sum": "sum", "topk": "normalised sum of the largest responses", "alpha": "front to back"}[blend]
    flags = sorted(getattr(decoded, "compat", ()))
    return f"{words} (as published: {', '.join(flags)})" if flags else words


def _render(shown: _Shown, comparison: Comparison) -> str:
    assets = reports_folder() / "site" / "assets"
    style = (reports_folder() / "templates" / "style.css.j2").read_text(encoding="utf-8")
    styles = [style, *((assets / name).read_text(encoding="utf-8") for name in _STYLES)]
    scripts = [(assets / name).read_text(encoding="utf-8") for name in _SCRIPTS[:-1]]
    if shown.has_gaussians:
        scripts.append(file_script(_key(shown), shown.data).decode())
    scripts.append((assets / _SCRIPTS[-1]).read_text(encoding="utf-8"))
    scripts = [f"\n{script}" for script in scripts]
    spec = json.dumps(comparison.as_dict(), ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return (
        make_environment()
        .get_template(_TEMPLATE)
        .render(
            name=shown.name,
            facts=_facts(shown),
            comparison=comparison,
            has_gaussians=shown.has_gaussians,
            policy=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
            styles=[Markup(_inline(text, "style")) for text in styles],
            scripts=[Markup(_inline(text, "script")) for text in scripts],
            spec=Markup(spec),
        )
    )


def _inline(text: str, tag: str) -> str:
    """Our own files between tags.

    Raises:
        ValueError: a file that would end the element.
    """
    if f"</{tag}" in text.lower() or "<!--" in text:
        raise ValueError(f"a {tag} of the page holds '</{tag}' or '<!--' and cannot be part of one file")
    return text


def _digest(script: str) -> str:
    """By which the page's policy allows this script alone."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
