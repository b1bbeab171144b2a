"""Whether records agree with each other and with the manifests of their data sets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple

from splatbench.record import Record, to_line
from splatbench.results.findings import Finding, Place, Problem
from splatbench.results.manifests import Manifests
from splatbench.results.reading import line_at, parse

#: By how much metrics of one file may differ between machines.
_TOLERANCE = {"psnr": 0.01, "psnr_u8": 0.01}
_TOLERANCE_ELSE = 1e-3

#: dB by which more Gaussians or more bits may look worse before it is remarked on.
_FALL = 0.1

#: Budgets that grow with their number, and the one that shrinks.
_GROWING, _SHRINKING = ("gaussians", "bpp", "quality"), "compression_ratio"


class _File(NamedTuple):
    place: Place
    bytes: int | None
    metrics: dict[str, float | None]


class _Step(NamedTuple):
    target: float
    psnr: float
    place: Place
    slug: str


class Agreement:
    """Takes records one by one and finds those that contradict earlier ones; keeps only what it compares."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], tuple[Place, bytes]] = {}
        self._pixels: dict[tuple[str, str], tuple[Place, str | None, tuple[int | None, int | None]]] = {}
        self._files: dict[tuple[str, str | None], _File] = {}
        self._configs: dict[tuple[str, str], tuple[Place, str]] = {}
        self._budgets: dict[tuple[str, ...], list[_Step]] = {}
        self._manifests = Manifests()

    def add(self, place: Place, record: Record, line: bytes) -> Iterator[Finding]:
        """What of `record`, which was read from `line` at `place`, contradicts a record before it."""
        yield from self._duplicate(place, record, line)
        yield from self._same_pixels(place, record)
        yield from self._same_file(place, record)
        yield from self._same_config(place, record)
        yield from self._manifests.of_record(record)
        self._note_budget(place, record)

    def _duplicate(self, place: Place, record: Record, line: bytes) -> Iterator[Finding]:
        digest = hashlib.sha256(line).digest()
        first, known = self._rows.setdefault(record.key, (place, digest))
        if first == place:
            return
        row = f"{record.experiment}, {record.dataset}, {record.image}, {record.entry}@{record.budget_slug}"
        if known == digest or to_line(parse(line_at(first))) == to_line(record):
            yield Finding("duplicate", f"the same row as {first}; remove one of them ({row})")
        else:
            text = f"the same measurement as {first}, with other content ({row}): keep one, or merge the two files"
            yield Finding("conflict", f"{text} with `splatbench results merge --on-conflict newest`")

    def _same_pixels(self, place: Place, record: Record) -> Iterator[Finding]:
        if record.height is None:
            return
        size = (record.height, record.width)
        first, sha256, known = self._pixels.setdefault(
            (record.dataset, record.image), (place, record.pixel_sha256, size)
        )
        if (sha256, known) != (record.pixel_sha256, size):
            text = f"{record.image} of {record.dataset} has other pixels or another size here than in {first}"
            yield Finding("pixels", f"{text}; two pictures need two names")

    def _same_file(self, place: Place, record: Record) -> Iterator[Finding]:
        if record.status != "ok" or not record.file_sha256:
            return
        seen = _File(place, record.bytes, record.metrics)
        first = self._files.setdefault((record.file_sha256, record.pixel_sha256), seen)
        if first.bytes != record.bytes:
            yield Finding(
                "file", f"the same file as in {first.place} has {record.bytes} bytes here, {first.bytes} there"
            )
        for name, value in record.metrics.items():
            other = first.metrics.get(name)
            if value is None or other is None:
                continue
            if abs(value - other) > _TOLERANCE.get(name, _TOLERANCE_ELSE):
                yield Finding("file", f"the same file as in {first.place} has {name} {value:g} here, {other:g} there")

    def _same_config(self, place: Place, record: Record) -> Iterator[Finding]:
        if not record.config_hash:
            return
        settings = json.dumps(record.config, sort_keys=True)
        first, known = self._configs.setdefault((record.method, record.config_hash), (place, settings))
        if known != settings:
            text = f"config_hash {record.config_hash} stands for other settings here than in {first}"
            yield Finding("config", f"{text}; collect the records again instead of editing them")

    def _note_budget(self, place: Place, record: Record) -> None:
        psnr = record.metrics.get("psnr")
        target = _target(record)
        if record.status == "ok" and record.snapshot == "final" and psnr is not None and target is not None:
            kind, amount, rest = target
            key = (record.experiment, record.dataset, record.image, record.entry, record.config_hash,
                   str(record.seed), kind, rest)  # fmt: skip
            self._budgets.setdefault(key, []).append(_Step(amount, psnr, place, record.budget_slug))

    def trends(self) -> Iterator[Problem]:
        """Pictures that look worse with more Gaussians or bits than the same run had with fewer."""
        for steps in self._budgets.values():
            best = None
            for step in sorted(steps, key=lambda step: (step.target, step.psnr)):
                if best is not None and step.target > best.target and step.psnr < best.psnr - _FALL:
                    text = f"psnr falls from {best.psnr:.2f} dB at {best.slug} to {step.psnr:.2f} dB at {step.slug}"
                    yield Problem(step.place, Finding("trend", f"{text}, which has more to spend", warning=True))
                if best is None or step.psnr > best.psnr:
                    best = step


def _target(record: Record) -> tuple[str, float, str] | None:
    """Kind of budget, a number that grows with what may be spent, and the budget's other limits."""
    rest = dict(record.budget)
    for kind in (*_GROWING, _SHRINKING):
        amount = rest.pop(kind, None)
        if isinstance(amount, int | float):
            return kind, -amount if kind == _SHRINKING else amount, json.dumps(rest, sort_keys=True)
    return None
