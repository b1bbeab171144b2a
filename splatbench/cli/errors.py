"""What a person reads when a command fails."""

from __future__ import annotations


def sentence(error: Exception) -> str:
    """The error's own words where it was written for the user; else also its class and how to see more."""
    own = (ValueError, OSError, RuntimeError)
    text = str(error).strip()
    # A bare KeyError or IndexError says nothing without its place.
    if isinstance(error, own) and type(error).__module__.startswith(("splatbench", "builtins")) and text:
        return text
    return f"{type(error).__name__}: {text} (`splatbench --debug ...` shows where)"
