"""What goes wrong in training, said for the user."""

from __future__ import annotations


class TrainingError(ValueError):
    """A run that cannot start or go on; the text says why and what to do."""
