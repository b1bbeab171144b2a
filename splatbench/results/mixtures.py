"""What a merged table mixes: rows of one entry that are of several codes, containers, settings or machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from splatbench.record import ContainerImage, Provenance
from splatbench.results.findings import plain

#: Entries, and variants of one kind, that a warning names.
_NAMED = 6


class Origin(NamedTuple):
    """What made a row, as far as it may change numbers or times."""

    settings: str
    code: str
    container: str
    machine: str

    @classmethod
    def of(cls, config_hash: str, provenance: Provenance, container: ContainerImage | None) -> Origin:
        """Of a row that was run."""
        code = (provenance.commit or "no commit")[:12] + (" with changes" if provenance.dirty else "")
        images = [image for image in (container, provenance.image) if image is not None]
        inside = " in ".join((image.digest or image.name)[:19] for image in images) or "no container"
        devices = dict.fromkeys(name for name in (provenance.device, provenance.cpu) if name)
        machine = f"{' with '.join(devices) or 'unknown'}, {provenance.threads} threads"
        return cls(config_hash, code, inside, machine)


_WORDS = {
    "settings": "settings or versions of a method, by their hash",
    "code": "commits (`splatbench results validate --git` says whether the method's code differs)",
    "container": "containers",
    "machine": "machines, so times are not of one",
}


class Mixtures:
    """Counts the origins of rows by experiment and entry."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Counter[Origin]] = {}

    def add(self, experiment: str, entry: str, origin: Origin) -> None:
        self._rows.setdefault((experiment, entry), Counter())[origin] += 1

    def warnings(self) -> Iterator[str]:
        """A sentence for each kind of mixture, with the entries that share it."""
        for kind, words in _WORDS.items():
            alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
            for (experiment, entry), origins in sorted(self._rows.items()):
                variants = tuple(sorted({getattr(origin, kind) for origin in origins}))
                if len(variants) > 1:
                    alike.setdefault((experiment, variants), []).append(entry)
            for (experiment, variants), entries in alike.items():
                yield plain(
                    f"{experiment}: rows of {len(variants)} {words}: {_some(variants, '; ')}; in {_some(entries, ', ')}"
                )


def _some(names: tuple[str, ...] | list[str], separator: str) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return separator.join(names[:_NAMED]) + more
