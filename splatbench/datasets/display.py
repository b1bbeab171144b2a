"""Progress of downloads on the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from splatbench.datasets.download import ProgressHook
from splatbench.datasets.fetch import Display


@contextlib.contextmanager
def download_display(enabled: bool = True) -> Iterator[Display]:
    """A line with bar, size, speed and remaining time for each download, on stderr; nothing when not on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not (enabled and console.is_terminal)) as bars:

        def hook(name: str) -> ProgressHook:
            task = bars.add_task(name, total=None)

            def update(here: int, total: int | None) -> None:
                bars.update(task, completed=here, total=total, visible=total is None or here < total)

            return update

        yield hook
