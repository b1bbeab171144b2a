"""Single members out of zip files, on disk or at a server, into files that the caller names.

Nothing in an archive decides where a file is written: the caller gives each destination, so `../` in a member's name
leads nowhere. Links and devices are refused, lengths are bounded before reading, CRC-32 is checked to the last byte.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import tenacity

from splatbench.datasets import httpfields
from splatbench.datasets.download import TRY_AGAIN, ProgressHook, RetryPolicy, require_space

_BLOCK = 1 << 20
_ENCRYPTED = 0x1  # bit 0 of a member's general purpose flags (APPNOTE 4.4.4)


class UnpackError(RuntimeError):
    """An archive that is damaged, dangerous or lacks a member; the message names archive and member."""


class ArchiveUnreachable(UnpackError):
    """No connection to the server of a remote archive."""


class _TryAgain(UnpackError):
    """A fault on the way that may pass."""


def find_member(names: Iterable[str], folder: str, name: str) -> str | None:
    """The member <folder><name>, else the only member anywhere in the archive whose file name is `name`."""
    names = list(names)
    if folder + name in names:
        return folder + name
    alike = [n for n in names if PurePosixPath(n.replace("\\", "/")).name == name and not n.endswith("/")]
    return alike[0] if len(alike) == 1 else None


def extract_member(
    archive: zipfile.ZipFile,
    member: str,
    destination: Path,
    size: int | None = None,
    limit: int = 1 << 30,
    progress: ProgressHook | None = None,
) -> None:
    """Writes one member to `destination`, whole and with its CRC-32 checked, or not at all.

    Args:
        size: the expected length in bytes, if known.
        limit: the largest length in bytes that is accepted (against zip bombs).

    Raises:
        UnpackError: dangerous name, link, encrypted, other or too large size, damaged.
        splatbench.datasets.download.DownloadError: it does not fit on the disk.
        OSError: it cannot be written.
    """
    where = f"{archive.filename or 'archive'}, member {member!r}"
    info = _safe_info(archive, member, where)
    if size is not None and info.file_size != size:
        raise UnpackError(f"{where}: is {info.file_size} bytes, expected {size}")
    if info.file_size > limit:
        raise UnpackError(f"{where}: claims {info.file_size} bytes, more than the {limit} that such a picture can need")
    destination.parent.mkdir(parents=True, exist_ok=True)
    require_space(destination, info.file_size)
    handle, temporary = tempfile.mkstemp(prefix=f".{destination.name}.", suffix=".part", dir=destination.parent)
    try:
        with os.fdopen(handle, "wb") as target, archive.open(info) as source:
            written = 0
            while block := source.read(_BLOCK):
                written += len(block)
                target.write(block)
                if progress:
                    progress(written, info.file_size)
        if written != info.file_size:
            raise UnpackError(f"{where}: ends after {written} of {info.file_size} bytes")
        os.chmod(temporary, 0o644)
        os.replace(temporary, destination)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UnpackError(f"{where}: damaged ({error})") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _safe_info(archive: zipfile.ZipFile, member: str, where: str) -> zipfile.ZipInfo:
    parts = PurePosixPath(member.replace("\\", "/")).parts
    if member.startswith(("/", "\\")) or ".." in parts or ":" in member or "\0" in member:
        raise UnpackError(f"{where}: the name leads out of the archive's folder; refused")
    try:
        info = archive.getinfo(member)
    except KeyError:
        raise UnpackError(f"{where}: there is no such member") from None
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 when the archive was not made on Unix
    if info.is_dir() or kind not in (0, stat.S_IFREG):
        raise UnpackError(f"{where}: is a folder, a link or a device, not a file; refused")
    if info.flag_bits & _ENCRYPTED:
        raise UnpackError(f"{where}: is encrypted")
    return info


def extract_remote(
    url: str,
    archive_bytes: int,
    folder: str,
    name: str,
    destination: Path,
    size: int | None = None,
    limit: int = 1 << 30,
    progress: ProgressHook | None = None,
    policy: RetryPolicy | None = None,
) -> None:
    """Takes one member out of a zip file at a server by range requests, without downloading the rest.

    Args:
        archive_bytes: length of the whole archive: another length is another archive, and is refused.

    Raises:
        UnpackError: as `extract_member`; the server lacks range requests, is not reachable, or has another archive.
        splatbench.datasets.download.DownloadError, OSError: as `extract_member`.
    """
    policy = policy or RetryPolicy()

    def attempt() -> None:
        with _remote(url, archive_bytes, policy) as archive:
            member = find_member(archive.namelist(), folder, name)
            if member is None:
                raise UnpackError(f"{url}: holds no member {folder}{name}")
            extract_member(archive, member, destination, size, limit, progress)

    tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((_TryAgain, ArchiveUnreachable)),
        stop=lambda state: state.attempt_number >= _patience(state, policy),
        wait=tenacity.wait_exponential(policy.first_wait, policy.longest_wait)
        + tenacity.wait_random(0, policy.first_wait),
        reraise=True,
    )(_explained, attempt, url)


def _patience(state: tenacity.RetryCallState, policy: RetryPolicy) -> int:
    error = state.outcome.exception() if state.outcome else None
    return policy.unreachable_attempts if isinstance(error, ArchiveUnreachable) else policy.attempts


def _explained(attempt: Callable[[], None], url: str) -> None:
    """Runs an attempt; turns what the libraries below raise into UnpackError, by what can be done about it."""
    import remotezip
    import urllib3

    try:
        attempt()
    except remotezip.RangeNotSupported as error:
        raise UnpackError(f"{url}: the server sends whole files only, not parts") from error
    except (remotezip.RemoteZipError, urllib3.exceptions.HTTPError, zipfile.BadZipFile) as error:
        status = _http_status(error)
        if status is not None:
            kind: type[UnpackError] = _TryAgain if status in TRY_AGAIN else UnpackError
            raise kind(f"{url}: the server answers {status}") from error
        if _never_connected(error):
            raise ArchiveUnreachable(f"{url}: the server cannot be reached") from error
        raise _TryAgain(f"{url}: {error or type(error).__name__}") from error


@contextlib.contextmanager
def _remote(url: str, archive_bytes: int, policy: RetryPolicy) -> Iterator[zipfile.ZipFile]:
    """The remote archive, after a look at its length."""
    import remotezip
    import requests

    class Trusted(requests.Session):
        """Single members have no hash of their own file: without TLS nobody would vouch for them."""

        def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            # Redirects come through here, too.
            if httpfields.may_be_changed_on_the_way(request.url or ""):
                raise UnpackError(f"{request.url} has no TLS; single members are taken over https alone")
            return super().send(request, **options)

    headers = {"User-Agent": f"splatbench/{importlib.metadata.version('splatbench')}", "Accept-Encoding": "identity"}
    timeout = min(15.0, policy.timeout), policy.timeout
    with Trusted() as session, remotezip.RemoteZip(url, session=session, headers=headers, timeout=timeout) as archive:
        if archive.size() != archive_bytes:
            raise UnpackError(f"{url}: is {archive.size()} bytes, expected {archive_bytes}: it is another archive")
        archive.filename = url
        yield archive


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it; remotezip keeps the first cause only so."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _http_status(error: BaseException) -> int | None:
    responses = (getattr(cause, "response", None) for cause in _causes(error))
    return next((int(response.status_code) for response in responses if response is not None), None)


def _never_connected(error: BaseException) -> bool:
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    return any(isinstance(cause, (NewConnectionError, ConnectTimeoutError)) for cause in _causes(error))
