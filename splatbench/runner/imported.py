"""One result from elsewhere as a measurement: what `splatbench import` does beside reading and writing files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from splatbench.budget import Budget
from splatbench.codec import peek_method
from splatbench.datasets import LoadedImage, pixel_sha256
from splatbench.exchange import SUFFIXES, read_arrays
from splatbench.method import Method, get_method
from splatbench.metrics import bits_per_pixel
from splatbench.provenance import provenance
from splatbench.record import Record, read_records, write_records
from splatbench.runner.encoding import Encoded, encode_image
from splatbench.runner.plan import configured

#: The method whose rows these are.
METHOD = "external"


@dataclass(frozen=True)
class Origin:
    """Where an imported result belongs among others.

    Attributes:
        name: what made it, in words: title and family of its rows.
        implementation: who wrote the code that made it.
        experiment, dataset, image: of the record; results of one image are compared where these names are equal.
        entry: id of its rows.
    """

    name: str
    implementation: Literal["official", "external"]
    experiment: str
    dataset: str
    image: str
    entry: str


def name_of(file: Path) -> str:
    """What made a file, as it says itself: method and source of named arrays, the method of a .s2d file; its own name
    where it says nothing.

    Raises:
        ExchangeError, BitstreamError: it is no such file.
        OSError: it cannot be opened.
    """
    if file.suffix in SUFFIXES:
        facts = read_arrays(file).facts
        return " ".join(filter(None, [facts.method or "External", facts.source and f"({facts.source})"]))
    return peek_method(file.read_bytes()) if file.suffix == ".s2d" else file.name


def entry_of(name: str) -> str:
    """A name as the id of an entry: its letters and digits, in lower case."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:80] or METHOD


def encode(file: Path, picture: LoadedImage, budget: Budget, name: str) -> Encoded:
    """The .s2d content of a file of named arrays, or of a .s2d file; without any time.

    Raises:
        MethodError: it cannot be read, is not there, or is not of this picture.
    """
    return encode_image(_method(name), picture.pixels, budget, name=str(file))


def _method(name: str) -> Method:
    kind = get_method(METHOD)
    return kind(kind.make_config({"imported": name}))


def record_of(
    encoded: Encoded, facts: Mapping[str, Any], picture: LoadedImage, budget: Budget, seed: int, origin: Origin
) -> Record:
    """The measurement of an imported result.

    Args:
        facts: what `splatbench evaluate --json` says of its file.
    """
    import hashlib

    final = encoded.files[-1]
    height, width = picture.pixels.shape[:2]
    config, config_hash = configured(METHOD, {"imported": origin.name})
    made = provenance()
    made.device = "elsewhere"  # whatever encoded it was not this machine, as far as anybody here knows
    return Record(
        experiment=origin.experiment,
        dataset=origin.dataset,
        image=origin.image,
        pixel_sha256=pixel_sha256(picture.pixels),
        height=height,
        width=width,
        entry=origin.entry,
        method=METHOD,
        title=origin.name,
        family=origin.name,
        column=origin.implementation,
        implementation=origin.implementation,
        config=config,
        config_hash=config_hash,
        budget=budget.as_dict(),
        budget_slug=budget.slug,
        seed=seed,
        n_target=budget.count(height, width),
        n_actual=facts["gaussians"],
        notes=[*picture.notes, *encoded.notes],
        bytes=len(final.data),
        bpp=bits_per_pixel(8 * len(final.data), height, width),
        nominal_bpp=None if final.nominal_bits is None else bits_per_pixel(final.nominal_bits, height, width),
        file=f"{origin.image}.s2d",
        file_sha256=hashlib.sha256(final.data).hexdigest(),
        metrics=facts["metrics"],
        metrics_not_run=facts["not_run"],
        decode_seconds=facts["decode_seconds"],
        provenance=made,
    )


def add_record(path: Path, record: Record) -> bool:
    """Adds a record to a file of records, in the place of one with the same key; the file changes as a whole or not at
    all. Two names that have the same letters and digits would be one entry, so the second is refused.

    Returns:
        Whether one was replaced.

    Raises:
        ValueError: a line of the file is no record, or its entry has another title there; the file stays as it is.
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        known = list(read_records(path)) if path.exists() else []
        for other in known:
            if (other.experiment, other.entry) == (record.experiment, record.entry) and other.title != record.title:
                raise ValueError(
                    f"{path}: the entry {record.entry!r} is {other.title!r} there, not {record.title!r}: choose "
                    "a --name that differs in letters or digits, or another --experiment"
                )
        kept = [other for other in known if other.key != record.key]
        write_records(path, [*kept, record])
    return len(kept) < len(known)
