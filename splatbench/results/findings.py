"""What is wrong with records, and how it is listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: Problems of one kind that a listing shows one by one.
SHOWN = 10


@dataclass(frozen=True)
class Finding:
    """Something about a record, wherever it stands.

    Attributes:
        kind: what sort of thing, one word; listings group by it.
        text: what is wrong and what to do, one line.
        warning: it may be right, a person should look; False: it cannot be right.
    """

    kind: str
    text: str
    warning: bool = False


@dataclass(frozen=True)
class Place:
    """A line of a file, and the byte that it begins at; line 0 is the file itself."""

    path: Path
    line: int = 0
    offset: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else str(self.path)


@dataclass(frozen=True)
class Problem:
    """A finding at its place."""

    place: Place
    finding: Finding

    def __str__(self) -> str:
        return f"{'warning' if self.finding.warning else 'error'}: {plain(f'{self.place}: {self.finding.text}')}"


def plain(text: str) -> str:
    """One line of printable characters: names from files may hold line breaks and terminal codes."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def listing(problems: Iterable[Problem], shown: int | None = SHOWN) -> Iterator[str]:
    """Lines to print: errors before warnings, what several lines of a file share once.

    Args:
        shown: of each kind at most so many lines, and how many more there are; None: all.
    """
    kinds: dict[tuple[bool, str], dict[tuple[Path, str], list[Problem]]] = {}
    for problem in problems:
        finding = problem.finding
        kind = kinds.setdefault((finding.warning, finding.kind), {})
        kind.setdefault((problem.place.path, finding.text), []).append(problem)
    for (warning, kind_name), groups in sorted(kinds.items(), key=lambda item: item[0][0]):
        alike = list(groups.values())
        cut = len(alike) if shown is None else shown
        for members in alike[:cut]:
            more = f" (the same in {len(members) - 1} more lines)" if len(members) > 1 else ""
            yield f"{members[0]}{more}"
        if hidden := sum(map(len, alike[cut:])):
            severity = "warning" if warning else "error"
            yield f"{severity}: ... and {hidden} more of this kind ({kind_name}); --all lists them"
