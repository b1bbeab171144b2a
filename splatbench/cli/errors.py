"""What a person reads when a command fails."""

from __future__ import annotations


def sentence(error: Exception) -> str:
    """The error's own words where it was written for the user; else also its class and how to see more."""
    own = (ValueError, OSError, RuntimeError)
    text = str(error).strip()
    if isinstance(error, OSError) and error.strerror:
        # Without the number; a bare system error gets the path in front.
        place = f"{error.filename}: " if error.filename and str(error.filename) not in error.strerror else ""
        text = f"{place}{error.strerror}"
    # A bare KeyError or IndexError says nothing without its place.
    if isinstance(error, own) and type(error).__module__.startswith(("splatbench", "builtins")) and text:
        return text
    return f"{type(error).__name__}: {text} (`splatbench --debug ...` shows where)"
