"""What is wrong with somebody else's file, as the reason of a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from splatbench.codec import BitstreamError
from splatbench.containers.answer import clean
from splatbench.exchange import ExchangeError
from splatbench.method import MethodError


@contextmanager
def as_reason(where: str) -> Iterator[None]:
    """Makes errors of readers MethodErrors that begin with `where`. Names in a file may be of any length and hold
    anything, so their text is cut and printable."""
    try:
        yield
    except (ExchangeError, BitstreamError) as error:
        raise MethodError(f"{where}: {clean(str(error).removeprefix(f'{where}: '))}") from None
