"""Results that lie in files: one file per picture, made elsewhere."""

from __future__ import annotations

import glob
import hashlib
import os
import string
from dataclasses import dataclass
from pathlib import Path

from splatbench.codec import peek_method
from splatbench.exchange import SUFFIXES, ExchangeError, Facts, read_arrays, to_gaussians
from splatbench.files import sha256_file
from splatbench.method import MethodError, Unavailable
from splatbench.trace import Outside, Trace

from . import layout
from .reasons import as_reason

#: What a pattern may name: the picture, and the seed of the run.
FIELDS = ("image", "seed")


@dataclass(frozen=True)
class Found:
    """A picture's result: the content of its .s2d file, and the bit count that its author told."""

    data: bytes
    nominal_bits: int | None = None


def path_of(pattern: str, image: str, seed: int) -> Path:
    """The file of a picture, by its name, and a seed; `check_pattern` has passed."""
    return Path(pattern.format(image=image, seed=seed))


def read(path: Path, size: tuple[int, int], trace: Trace, allowed: int | None = None) -> Found:
    """The result in a file. A .s2d file of any method is taken as it is, named arrays are converted.

    Args:
        size: (H, W) of the picture that it is of.
        trace: learns that nobody here saw the work, and what the file tells about it.
        allowed: number of Gaussians that the budget allows.

    Raises:
        Unavailable: there is no such file.
        MethodError: it cannot be read, is not of this picture, or holds more Gaussians.
    """
    trace.outside = Outside(elsewhere=True)
    if not path.exists():
        raise Unavailable(f"{path} is not there; put the result of this picture there, in a form of docs/import.md")
    with as_reason(str(path)):
        if path.suffix == ".s2d":
            found = Found(path.read_bytes())
            trace.note(f"made elsewhere, a .s2d file of the method {peek_method(found.data)}")
            return found
        if path.suffix not in SUFFIXES:
            raise ExchangeError(f"the name must end in {', '.join(SUFFIXES)} or .s2d")
        named = read_arrays(path, allowed)
        gaussians = to_gaussians(named, size)
    for sentence in told(named.facts):
        trace.note(sentence)
    return Found(layout.to_bytes(gaussians), named.facts.nominal_bits)


def digest_of(pattern: str) -> str:
    """ "sha256:..." of the content of all files of a pattern, with their paths from the last folder that the pattern
    names in full; empty where there is none. Results that are made again are other results.

    Raises:
        MethodError: not such a pattern.
    """
    check_pattern(pattern)
    # One part after the other: the text between the fields may hold characters that mean something to glob.
    parts = [glob.escape(text) + ("*" if name else "") for text, name, _, _ in string.Formatter().parse(pattern)]
    found = glob.glob("".join(parts))  # noqa: PTH207  (a pattern may be absolute)
    digest = hashlib.sha256()
    first = next(text for text, *_ in string.Formatter().parse(pattern))
    folder = os.path.dirname(first) or "."  # noqa: PTH120  (Path would drop a slash at the end, which ends the folder)
    paths = sorted((os.path.relpath(path, folder), path) for path in found if Path(path).is_file())
    for name, path in paths:
        digest.update(f"{name}\0{sha256_file(path)}\n".encode())
    return f"sha256:{digest.hexdigest()}" if paths else ""


def check_digest(pattern: str, digest: str) -> None:
    """Raises Unavailable unless the files of a pattern are here, and are those of the digest."""
    if not (found := digest_of(pattern)):
        raise Unavailable(f"no file is at {pattern}; put results there, in a form of docs/import.md")
    if found != digest:
        raise Unavailable(
            f"the files {pattern} are {found}, the configuration says {digest or 'none were there'}: get "
            "those files, or leave `digest` out and run this again"
        )


def check_pattern(pattern: str) -> None:
    """Raises MethodError unless a pattern names the picture, and nothing unknown."""
    try:
        fields = [(name, rest) for _, name, *rest in string.Formatter().parse(pattern) if name is not None]
    except ValueError as error:
        raise MethodError(f"files: {pattern!r} is not such a pattern: {error}") from None
    for name, rest in fields:
        if name not in FIELDS or any(rest):
            raise MethodError(f"files: {pattern!r} names {{{name}}}; a pattern may name {{image}} and {{seed}}")
    if "image" not in [name for name, _ in fields]:
        raise MethodError(f"files: {pattern!r} is one file for all pictures; name the picture with {{image}}")


def told(facts: Facts) -> list[str]:
    """What a file tells about its origin, as sentences for the record: told, not measured."""
    origin = " ".join(filter(None, [facts.method, facts.source and f"({facts.source})"]))
    found = [f"made elsewhere{f' by {origin}' if origin else ''}"]
    if facts.encode_seconds is not None:
        found.append(f"encode time as told by the file, not measured here: {facts.encode_seconds:g} s")
    if facts.seed is not None:
        found.append(f"seed as told by the file: {facts.seed}")
    return [*found, facts.notes] if facts.notes else found
