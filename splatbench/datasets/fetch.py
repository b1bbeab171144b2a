"""Getting the missing pictures of a data set: as files of their own, out of an archive, made here, or by hand."""

from __future__ import annotations

import concurrent.futures
import json
import threading
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import filelock

from splatbench.datasets.dataset import Dataset, ManifestDataset, get_dataset
from splatbench.datasets.download import DownloadError, ProgressHook, RetryPolicy, fetch_file
from splatbench.datasets.facts import cache_folder
from splatbench.datasets.images import ImageError, central_crop, load_image
from splatbench.datasets.locate import ORIGINS, Refused, data_roots, home, judge
from splatbench.datasets.manifest import Archive, ImageEntry, Manifest
from splatbench.datasets.unpack import ArchiveUnreachable, UnpackError, extract_member, extract_remote, find_member
from splatbench.files import sha256_file, write_atomic

#: Gives the progress hook for a thing that is being fetched.
Display = Callable[[str], ProgressHook | None]

_NOT_TRIED = "the others were not tried: the server cannot be reached"
_BY_HAND = "cannot be downloaded by a program"
_FAULTS = (DownloadError, UnpackError, zipfile.BadZipFile, OSError)


@dataclass(frozen=True)
class Fetched:
    """What became of one picture. `message` says why it failed, or what to know about the copy."""

    image: str
    status: Literal["present", "fetched", "failed"]
    path: Path | None = None
    message: str = ""


def fetch_dataset(
    dataset: Dataset,
    images: Sequence[str] | None = None,
    jobs: int = 4,
    display: Display | None = None,
    policy: RetryPolicy | None = None,
) -> list[Fetched]:
    """Brings pictures that are not on this machine into the cache folder, verified; what is there stays as it is.

    Args:
        images: names; all of the data set by default.
        jobs: pictures downloaded at once.
        display: asked for a progress hook for each download.

    Returns:
        One result for each picture asked for, in their order. Failures are results, not exceptions.

    Raises:
        DatasetError: an image that the data set does not have.
    """
    entries = [dataset.entry(image) for image in images] if images is not None else dataset.images
    if isinstance(dataset, ManifestDataset):
        work = _Fetch(dataset, jobs, display or (lambda _: None), policy or RetryPolicy())
        if any(dataset.find(entry.name)[0] is None for entry in entries):
            work.run(entries)
        return [work.result(entry) for entry in entries]
    return [_result(dataset, entry, "present", "") for entry in entries]


def _result(dataset: Dataset, entry: ImageEntry, status: Literal["present", "fetched"], reason: str) -> Fetched:
    located, refused = dataset.find(entry.name)
    if located is not None:
        return Fetched(entry.name, status, located.path, "; ".join(located.notes))
    why = [reason, *(f"{r.path}: {r.reason}" for r in refused)]
    return Fetched(entry.name, "failed", None, "; ".join(w for w in why if w) or _BY_HAND)


class _Fetch:
    def __init__(self, dataset: ManifestDataset, jobs: int, display: Display, policy: RetryPolicy) -> None:
        self.dataset = dataset
        self.manifest: Manifest = dataset.manifest
        self.home = home(dataset.manifest)
        self.jobs = max(1, jobs)
        self.display = display
        self.policy = policy
        self.reasons: dict[str, str] = {}
        self.done: set[str] = set()
        self._offline = threading.Event()
        self._origins = threading.Lock()

    def result(self, entry: ImageEntry) -> Fetched:
        status: Literal["present", "fetched"] = "fetched" if entry.name in self.done else "present"
        return _result(self.dataset, entry, status, self.reasons.get(entry.name, ""))

    def run(self, entries: Sequence[ImageEntry]) -> None:
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.home / ".fetch.lock"):  # a second process waits, then finds all done
                self.dataset.forget()
                missing = [e for e in entries if self.dataset.find(e.name)[0] is None]
                if self.manifest.generator:
                    self._make(missing)
                    missing = []
                alone = [e for e in missing if self.manifest.urls(e)]
                self._in_parallel(self._from_address, alone)
                self._from_archives([e for e in missing if not self.manifest.urls(e)])
        except OSError as error:
            for entry in entries:
                self.reasons.setdefault(entry.name, f"{self.home}: cannot be written: {error.strerror or error}")
        self.dataset.forget()

    def _make(self, entries: Sequence[ImageEntry]) -> None:
        from splatbench.codec.pictures import encode_png
        from splatbench.datasets.synthetic import write_synthetic

        for entry in entries:
            assert entry.width is not None and entry.height is not None  # the manifest's check
            target = self.home / entry.name
            if self.manifest.generator == "synthetic":
                write_synthetic(target, entry.height, entry.width, entry.seed)
            else:
                source = self.manifest.source
                (found,) = fetch_dataset(get_dataset(source), [entry.name], 1, self.display, self.policy)
                try:
                    if found.path is None:
                        raise ImageError(found.message)
                    middle = central_crop(load_image(found.path).pixels, entry.height, entry.width)
                except ImageError as error:
                    self.reasons[entry.name] = f"it is cut from {source}: {error}"
                    continue
                write_atomic(target, encode_png(middle))
            self._keep_if_right(entry, target)

    def _in_parallel(self, work: Callable[[ImageEntry], None], entries: Sequence[ImageEntry]) -> None:
        pool = concurrent.futures.ThreadPoolExecutor(self.jobs)
        try:
            for _ in pool.map(work, entries):
                pass
        finally:
            pool.shutdown(cancel_futures=True)

    def _from_address(self, entry: ImageEntry) -> None:
        if self._offline.is_set():
            self.reasons[entry.name] = _NOT_TRIED
            return
        urls, target = self.manifest.urls(entry), self.home / entry.name
        try:
            fetch_file(urls, target, entry.bytes, entry.sha256, self.display(entry.name), policy=self.policy)
            self._keep_if_right(entry, target)
        except DownloadError as error:
            self.reasons[entry.name] = str(error)
            if error.unreachable:
                self._offline.set()

    def _from_archives(self, entries: Sequence[ImageEntry]) -> None:
        for archive in self.manifest.archives:
            self._offline.clear()  # the next one may lie at a server that answers
            left = [e for e in entries if e.name not in self.done]
            if left and archive.take == "members":
                self._in_parallel(lambda e, a=archive: self._from_remote(a, e), left)  # type: ignore[misc]
            elif left:
                self._from_whole(archive, left)

    def _from_remote(self, archive: Archive, entry: ImageEntry) -> None:
        if self._offline.is_set():
            self.reasons.setdefault(entry.name, _NOT_TRIED)
            return
        reasons = [self.reasons[entry.name]] if entry.name in self.reasons else []
        for url in archive.urls:
            try:
                extract_remote(
                    url, archive.bytes, archive.folder, entry.name, self.home / entry.name,
                    entry.bytes, self._limit(entry), self.display(entry.name), self.policy,
                )  # fmt: skip
                self._remember_origin(entry, url, verified=False)
                self._keep_if_right(entry, self.home / entry.name)
                return
            except _FAULTS as error:
                reasons.append(str(error))
                if isinstance(error, ArchiveUnreachable):
                    self._offline.set()
        self.reasons[entry.name] = "\n".join(reasons)

    def _from_whole(self, archive: Archive, entries: Sequence[ImageEntry]) -> None:
        own = cache_folder() / "archives" / archive.file
        try:
            path = self._archive_here(archive) or fetch_file(
                archive.urls, own, archive.bytes, archive.sha256, self.display(archive.file), policy=self.policy
            )
            with zipfile.ZipFile(path) as opened:
                for entry in entries:
                    self._unpack(opened, archive, entry)
        except _FAULTS as error:
            for entry in entries:
                self.reasons.setdefault(entry.name, str(error))
            return
        self.dataset.forget()
        if all(self.dataset.find(entry.name)[0] for entry in self.manifest.entries()):
            own.unlink(missing_ok=True)  # nothing in it is needed any more

    def _unpack(self, opened: zipfile.ZipFile, archive: Archive, entry: ImageEntry) -> None:
        target = self.home / entry.name
        try:
            member = find_member(opened.namelist(), archive.folder, entry.name)
            if member is None:
                raise UnpackError(f"{archive.file} holds no member {archive.folder}{entry.name}")
            extract_member(opened, member, target, entry.bytes, self._limit(entry))
            self._remember_origin(entry, archive.urls[0], verified=True)
            self._keep_if_right(entry, target)
        except UnpackError as error:
            self.reasons[entry.name] = str(error)

    def _archive_here(self, archive: Archive) -> Path | None:
        """The archive as somebody downloaded it before, in one of the data folders."""
        for root in data_roots():
            for path in (root / archive.file, root / self.manifest.name / archive.file):
                if path.is_file() and path.stat().st_size == archive.bytes and sha256_file(path) == archive.sha256:
                    return path
        return None

    def _keep_if_right(self, entry: ImageEntry, path: Path) -> None:
        verdict = judge(path, entry, self.manifest)
        if isinstance(verdict, Refused):
            path.unlink(missing_ok=True)
            self.reasons[entry.name] = f"what was fetched is not the picture: {verdict.reason}; it was removed"
        else:
            self.done.add(entry.name)

    def _remember_origin(self, entry: ImageEntry, url: str, verified: bool) -> None:
        with self._origins:
            record = self.home / ORIGINS
            known = json.loads(record.read_text()) if record.exists() else {}
            digest = sha256_file(self.home / entry.name)
            known[entry.name] = {"sha256": digest, "from": url, "verified": verified}
            write_atomic(record, json.dumps(known, indent=1, sort_keys=True).encode())

    def _limit(self, entry: ImageEntry) -> int:
        """The most bytes that a lossless file of the picture can need: 16-bit RGBA uncompressed, and 1 MiB."""
        side = self.manifest.long_side or 16384
        return 8 * (entry.width or side) * (entry.height or side) + (1 << 20)
