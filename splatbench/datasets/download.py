"""Downloads that resume, verify and retry: one file, one or several addresses, one result or one clear error.

Range requests and validators follow RFC 9110 (sections 13.1.5 If-Range, 14.2 Range, 14.4 Content-Range, 15.5.17 416).
"""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock
import httpx
import tenacity

from splatbench.datasets import httpfields
from splatbench.files import sha256_file, write_atomic

#: Called with (bytes that are here, bytes in all or None when the server does not say).
ProgressHook = Callable[[int, int | None], None]

_PROGRESS_RESETS_PATIENCE = 1 << 16  # a try that brought this many bytes does not count against the attempts
#: HTTP statuses of faults that may pass.
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_RETRY_AFTER = 300.0  # seconds; a server that asks for more is treated as not available


class DownloadError(RuntimeError):
    """No address gave the file; the message lists each address with its reason.

    Attributes:
        unreachable: no server answered at all (offline, DNS, refused), so other files there need not be tried.
    """

    def __init__(self, message: str, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a download is. Waits grow as first_wait * 2^k with jitter up to longest_wait (seconds)."""

    attempts: int = 5  # tries in a row that bring (nearly) nothing before an address is given up
    unreachable_attempts: int = 2  # the same while no connection can be made at all
    first_wait: float = 1.0
    longest_wait: float = 60.0
    timeout: float = 60.0  # seconds without a byte before the connection counts as cut


class _Refused(Exception):
    """This address will not give the file: trying again is useless."""


class _TryAgain(Exception):
    """A fault that may pass."""

    def __init__(self, message: str, retry_after: float | None = None, unreachable: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.unreachable = unreachable


def fetch_file(
    urls: str | Sequence[str],
    destination: Path | str,
    size: int | None = None,
    sha256: str | None = None,
    progress: ProgressHook | None = None,
    *,
    policy: RetryPolicy | None = None,
) -> Path:
    """Brings one file to `destination`, whole and verified, or not at all.

    What an earlier try left in `<destination>.part` is continued. Addresses are tried in order. A file that is there
    already is kept if `size` and `sha256` agree (if neither is given: if it exists) and fetched anew otherwise. Two
    processes that want the same file wait for each other.

    Args:
        urls: one address or several that offer the same bytes (https; redirects are followed). Without `sha256` an
            address or redirect without TLS is refused, except to this machine.
        size: expected length in bytes.
        sha256: expected hex digest.
        progress: called now and then with (bytes here, bytes in all or None).
        policy: retries and waits.

    Returns:
        The destination.

    Raises:
        DownloadError: every address failed, the content is not the expected one, or the disk is full or read-only.
    """
    addresses = [urls] if isinstance(urls, str) else list(urls)
    if not addresses:
        raise DownloadError(f"{Path(destination).name}: no address is known")
    destination = Path(destination)
    job = _Download(destination, size, sha256, progress, policy or RetryPolicy())
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(destination.with_name(f".{destination.name}.lock")):
            if not job.is_here():
                job.run(addresses)
    except OSError as error:
        raise DownloadError(_storage_fault(error, destination)) from error
    return destination


def _storage_fault(error: OSError, destination: Path) -> str:
    if error.errno == errno.ENOSPC:
        return f"{destination}: the disk is full; free some space and repeat: what is there will be continued"
    return f"{destination}: cannot be written: {error.strerror or error}"


def require_space(destination: Path, needed: int) -> None:
    """Checks that `needed` more bytes fit where `destination` is to be.

    Raises:
        DownloadError: with both figures and what to do.
    """
    free = shutil.disk_usage(destination.parent).free
    if needed > free:
        raise DownloadError(
            f"{destination}: needs {needed} bytes and the disk has {free} free; "
            "free some space, or set SPLATBENCH_CACHE to a folder on a larger disk"
        )


class _Part:
    """The unfinished file `<name>.part` and, in `<name>.part.json`, which version of which address it is part of."""

    def __init__(self, destination: Path) -> None:
        self.path = destination.with_name(destination.name + ".part")
        self.record = destination.with_name(destination.name + ".part.json")

    @property
    def length(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)

    def remember(self, url: str, response: httpx.Response, total: int | None) -> None:
        etag = response.headers.get("etag")
        state = {
            "url": url,
            # a weak validator must not be used with If-Range (RFC 9110, 13.1.5)
            "validator": etag if etag and not etag.startswith("W/") else response.headers.get("last-modified"),
            "total": total,
        }
        write_atomic(self.record, json.dumps(state).encode())

    def recall(self) -> tuple[str | None, str | None, int | None]:
        """(url, validator, total) of the server version that the part belongs to; Nones when nothing is known."""
        with contextlib.suppress(OSError, ValueError):
            state = json.loads(self.record.read_text())
            return state["url"], state["validator"], state["total"]
        return None, None, None


class _Download:
    def __init__(
        self,
        destination: Path,
        size: int | None,
        sha256: str | None,
        progress: ProgressHook | None,
        policy: RetryPolicy,
    ) -> None:
        self.destination = destination
        self.size = size
        self.sha256 = sha256.lower() if sha256 else None
        self.progress = progress
        self.policy = policy
        self.part = _Part(destination)
        self.fruitless = 0  # tries in a row that brought nearly nothing

    def is_here(self) -> bool:
        if not self.destination.is_file():
            return False
        if self.size is not None and self.destination.stat().st_size != self.size:
            return False
        return self.sha256 is None or sha256_file(self.destination) == self.sha256

    def run(self, addresses: Sequence[str]) -> None:
        reasons: list[str] = []
        unreachable = True
        headers = {
            "User-Agent": f"splatbench/{importlib.metadata.version('splatbench')}",
            "Accept-Encoding": "identity",
        }
        timeout = httpx.Timeout(self.policy.timeout, connect=min(15.0, self.policy.timeout))
        with httpx.Client(
            headers=headers,
            timeout=timeout,
            follow_redirects=True,
            max_redirects=10,
            event_hooks={"request": [self._require_trust]},
        ) as client:
            for url in addresses:
                try:
                    self._from_address(client, url)
                    return
                except (_Refused, _TryAgain) as error:
                    reasons.append(f"  {url}: {error}")
                    unreachable = unreachable and isinstance(error, _TryAgain) and error.unreachable
        raise DownloadError("\n".join([f"{self.destination.name} could not be downloaded:", *reasons]), unreachable)

    def _require_trust(self, request: httpx.Request) -> None:
        """Called before each request, those of redirects included."""
        if self.sha256 is None and httpfields.may_be_changed_on_the_way(str(request.url)):
            raise _Refused(f"{request.url} has no TLS, and no SHA-256 is known that would show a changed file")

    def _from_address(self, client: httpx.Client, url: str) -> None:
        self.fruitless = 0
        resumed = self.part.length > 0
        self._receive_all(client, url)
        try:
            self._finish()
        except _Refused:
            if not resumed:
                raise
            # The old part may have been of another version: the address deserves one try from the first byte.
            self._receive_all(client, url)
            self._finish()

    def _receive_all(self, client: httpx.Client, url: str) -> None:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TryAgain), stop=self._given_up, wait=self._pause, reraise=True
        )
        retrying(self._receive, client, url)

    def _given_up(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, _TryAgain)
        if error.retry_after is not None and error.retry_after > _LONGEST_RETRY_AFTER:
            return True
        return self.fruitless >= (self.policy.unreachable_attempts if error.unreachable else self.policy.attempts)

    def _pause(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, _TryAgain)
        if error.retry_after is not None:
            return error.retry_after
        wait = self.policy.first_wait * 2.0 ** max(self.fruitless - 1, 0)
        return min(wait, self.policy.longest_wait) * random.uniform(0.75, 1.25)

    def _receive(self, client: httpx.Client, url: str) -> None:
        """One request. Leaves a complete .part, or raises _TryAgain (with the part kept) or _Refused."""
        before = self.part.length
        if self.sha256 is not None and before == self.size:
            return  # nothing is missing: the hash decides
        try:
            headers = self._range_headers(url)
            with client.stream("GET", url, headers=headers) as response:
                self._check_status(url, response, asked_from=before if headers else 0)
                if response.status_code != 416:
                    self._store(url, response)
        except (httpx.TransportError, httpx.StreamError) as error:
            self._count(self.part.length - before)
            if self.size is not None and self.part.length == self.size:
                return  # cut after the last byte: the hash decides
            unreachable = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
            raise _TryAgain(httpfields.transport_fault(error), unreachable=unreachable) from error
        except (httpx.TooManyRedirects, httpx.InvalidURL, httpx.HTTPError) as error:
            raise _Refused(httpfields.transport_fault(error)) from error
        except _TryAgain:
            self._count(self.part.length - before)
            raise

    def _count(self, gained: int) -> None:
        self.fruitless = 0 if gained >= _PROGRESS_RESETS_PATIENCE else self.fruitless + 1

    def _range_headers(self, url: str) -> dict[str, str]:
        """Headers that continue the part, or {} after discarding a part that cannot be continued safely."""
        have = self.part.length
        origin, validator, _ = self.part.recall()
        same = origin == url and validator is not None
        too_long = self.size is not None and have > self.size
        # Without a validator only the final hash can tell two versions apart.
        if have == 0 or too_long or not (same or self.sha256):
            self.part.discard()
            return {}
        headers = {"Range": f"bytes={have}-"}
        if same and validator:
            headers["If-Range"] = validator
        return headers

    def _check_status(self, url: str, response: httpx.Response, asked_from: int) -> None:
        status = response.status_code
        if status in TRY_AGAIN:
            raise _TryAgain(f"the server answers {status} {response.reason_phrase}", httpfields.retry_after(response))
        if status == 416 and asked_from:
            if httpfields.content_range(response)[1] == asked_from:
                return  # nothing is left to send: the part is whole
            self.part.discard()
            raise _TryAgain("the file at the server is shorter than the part that is here; starting again")
        if status not in (200, 206):
            raise _Refused(f"the server answers {status} {response.reason_phrase}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _Refused(f"the server sends the file re-coded as {response.headers['content-encoding']}")
        if status == 206:
            start, total = httpfields.content_range(response)
            origin, _, recorded = self.part.recall()
            expected = self.size if self.size is not None or origin != url else recorded
            if start != asked_from or (total is not None and expected is not None and total != expected):
                self.part.discard()
                raise _TryAgain("the server sent another range than asked for; starting again")

    def _store(self, url: str, response: httpx.Response) -> None:
        start = self.part.length if response.status_code == 206 else 0
        total = httpfields.announced_total(response, start)
        if total is not None and self.size is not None and total != self.size:
            self.part.discard()
            raise _Refused(f"the server offers {total} bytes, expected {self.size}: it is another file")
        total = total if total is not None else self.size
        if total is not None:
            require_space(self.destination, total - start)
        self.part.remember(url, response, total)
        with open(self.part.path, "ab" if start else "wb") as file:
            received = start
            for block in response.iter_raw():  # unbuffered: what arrived before a cut is kept
                received += len(block)
                if total is not None and received > total:
                    file.close()
                    self.part.discard()
                    raise _Refused(f"the server sends more than the expected {total} bytes")
                file.write(block)
                if self.progress:
                    self.progress(received, total)
            file.flush()
            os.fsync(file.fileno())
        if total is not None and received < total:
            raise _TryAgain(f"the connection ended after {received} of {total} bytes")

    def _finish(self) -> None:
        """Verifies the part and gives it its name; a wrong one is removed."""
        self.part.path.touch()  # nothing was written for an empty file
        length = self.part.length
        if self.size is not None and length != self.size:
            self.part.discard()
            raise _Refused(f"got {length} bytes, expected {self.size}")
        if self.sha256 is not None:
            digest = sha256_file(self.part.path)
            if digest != self.sha256:
                self.part.discard()
                raise _Refused(f"wrong content: SHA-256 is {digest}, expected {self.sha256}; the file was removed")
        os.replace(self.part.path, self.destination)
        self.part.record.unlink(missing_ok=True)
