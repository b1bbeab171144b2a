"""The fetch stage: the images of an experiment are on this machine and verified, or it is written down why not."""

from __future__ import annotations

import time

from splatbench.datasets import DataMissing, Dataset, ManifestDataset
from splatbench.runner.plan import Plan
from splatbench.runner.progress import Reporter
from splatbench.runner.results import Summary, write_result


def fetch_dataset(plan: Plan, name: str, reporter: Reporter) -> Summary:
    """Downloads what is missing of a data set's chosen images and writes the data set's marker.

    What cannot be had does not stop the run: its rows say `not_run` and how to get it.

    Raises:
        OSError: the marker cannot be written.
    """
    begin = time.perf_counter()
    dataset, images = plan.datasets[name], plan.images[name]
    summary = Summary(stage="fetch")
    if missing := missing_images(dataset, images):
        try:
            _download(dataset, missing, reporter)
        except Exception as error:
            summary.reasons.append(str(error))
        missing = missing_images(dataset, images)
        summary.done = len(images) - len(missing)
    summary.kept = len(images) - len(missing) - summary.done
    summary.open = len(missing)
    if missing:
        summary.reasons.append(dataset.explain([dataset.entry(image).name for image in missing]))
    for reason in summary.reasons:
        reporter.line(reason)
    summary.wall_seconds = time.perf_counter() - begin
    write_result(plan.fetch_marker(name), summary)
    return summary


def missing_images(dataset: Dataset, images: tuple[str, ...] | list[str]) -> list[str]:
    """Those that have no acceptable file on this machine."""
    missing = []
    for image in images:
        try:
            dataset.locate(image)
        except DataMissing:
            missing.append(image)
    return missing


def _download(dataset: Dataset, images: list[str], reporter: Reporter) -> None:
    if not isinstance(dataset, ManifestDataset):
        return
    from splatbench.datasets.fetch import fetch_dataset as fetch

    reporter.line(f"{dataset.name}: fetching {len(images)} images")
    for fetched in fetch(dataset, images):
        reporter.line(f"{fetched.image}: {fetched.status}" + (f": {fetched.message}" if fetched.message else ""))
    dataset.forget()
