"""References of images: `name`, `name:tag`, `name@sha256:...`, or a digest alone."""

from __future__ import annotations

import re

_DIGEST = re.compile(r"(?:^|@)(sha256:[0-9a-f]{64})$")


def digest_in(reference: str) -> str:
    """The digest that a reference ends in; empty if it names none."""
    match = _DIGEST.search(reference)
    return match[1] if match else ""
