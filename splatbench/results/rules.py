"""Which of two measurements of the same thing stays: the rules that files of records and folders of results share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from splatbench.record import Status

Rule = Literal["fail", "newest", "ok-first"]

#: Clocks of machines that are set by the network agree to seconds.
CLOCK_TOLERANCE = timedelta(minutes=5)

EARLIEST = datetime.min.replace(tzinfo=UTC)

#: What orders measurements of the same thing: ran at all, success if that counts, when. The largest stays.
Preference = tuple[bool, bool, datetime]


class MergeError(ValueError):
    """Results that cannot become one as asked."""


def moment(text: str, status: Status) -> datetime:
    """When something was measured, by the clock of its machine; what never ran has no time, and counts as the earliest.

    Raises:
        ValueError: the text is no time.
    """
    if not text and status == "not_run":
        return EARLIEST
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"provenance.time {text[:80]!r} is no time") from None


def preference(status: Status, time: datetime, rule: Rule) -> Preference:
    """Larger for what stays. Under "ok-first" a success wins over a failure whenever they were measured."""
    return status != "not_run", rule == "ok-first" and status == "ok", time


def ahead_of_now(time: datetime, now: datetime) -> bool:
    """Whether a measurement claims to be of the future: its machine's clock was wrong, and "newest" would trust it."""
    return time > now + CLOCK_TOLERANCE
