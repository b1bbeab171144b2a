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
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import tenacity

from splatbench.datasets.download import ProgressHook, RetryPolicy, require_space

_BLOCK = 1 << 20
_ENCRYPTED = 0x1  # bit 0 of a member's general purpose flags (APPNOTE 4.4.4)
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class UnpackError(RuntimeError):
    """An archive that is damaged, dangerous or lacks a member; the message names archive and member."""


class _Unreached(UnpackError):
    """A fault on the way to a remote archive that may pass."""


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

    def guarded() -> None:
        import remotezip
        import urllib3

        try:
            attempt()
        except remotezip.RangeNotSupported as error:
            raise UnpackError(f"{url}: the server gives the whole archive only ({archive_bytes} bytes)") from error
        except (remotezip.RemoteZipError, urllib3.exceptions.HTTPError, zipfile.BadZipFile) as error:
            status = _http_status(error)
            message = f"{url}: {error or type(error).__name__}"
            if status is not None and status not in _TRY_AGAIN:
                raise UnpackError(message) from error
            raise _Unreached(message) from error

    tenacity.retry(
        retry=tenacity.retry_if_exception_type(_Unreached),
        stop=tenacity.stop_after_attempt(policy.attempts),
        wait=tenacity.wait_exponential_jitter(policy.first_wait, policy.longest_wait, jitter=policy.first_wait),
        reraise=True,
    )(guarded)()


@contextlib.contextmanager
def _remote(url: str, archive_bytes: int, policy: RetryPolicy):  # type: ignore[no-untyped-def]
    """A remotezip.RemoteZip (a zipfile.ZipFile) of the expected length."""
    import remotezip

    headers = {"User-Agent": f"splatbench/{importlib.metadata.version('splatbench')}", "Accept-Encoding": "identity"}
    with remotezip.RemoteZip(url, headers=headers, timeout=(min(15.0, policy.timeout), policy.timeout)) as archive:
        if archive.size() != archive_bytes:
            raise UnpackError(f"{url}: is {archive.size()} bytes, expected {archive_bytes}: it is another archive")
        archive.filename = url
        yield archive


def _http_status(error: BaseException | None) -> int | None:
    """The HTTP status behind an error of remotezip, which keeps it only as the cause."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return int(response.status_code)
        error = error.__cause__ or error.__context__
    return None
