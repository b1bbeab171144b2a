"""Names of pages, anchors and files: made of names in records, which may hold anything."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from splatbench.report import content

_LENGTH = 48


def slug(text: str) -> str:
    """Lower-case letters, digits and dashes; never empty, at most 48 characters."""
    return content.slug(text)[:_LENGTH].strip("-")


def short_hash(*parts: str) -> str:
    """Eight hex digits that are the same for the same parts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def unique_slugs(names: Iterable[str]) -> dict[str, str]:
    """Name -> slug. Names that share a slug, or whose slug leaves something out, get a hash of the name behind it, so a
    name has the same slug whichever others there are, but for a plain name that another one is reduced to."""
    names = sorted(set(names))
    found: dict[str, str] = {}
    for name in names:
        short = slug(name)
        plain = re.sub(r"[\s._,()+-]+", "-", name.lower()).strip("-")
        found[name] = short if plain == short else f"{short}-{short_hash(name)}"
    taken: dict[str, list[str]] = {}
    for name, short in found.items():
        taken.setdefault(short, []).append(name)
    for short, sharing in taken.items():
        if len(sharing) > 1:
            found |= {name: f"{short}-{short_hash(name)}" for name in sharing}
    return found


def row_id(identity: Iterable[str]) -> str:
    """An anchor for a row: readable where that is possible, told apart by a hash."""
    parts = list(identity)
    return f"{slug('-'.join([parts[0], parts[1], parts[5], parts[7]]))}-{short_hash(*parts)}"
