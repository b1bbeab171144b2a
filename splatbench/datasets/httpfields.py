"""The few HTTP header fields that a resuming download reads (RFC 9110)."""

from __future__ import annotations

import contextlib
import email.utils
import ipaddress
import re
import time
from urllib.parse import urlsplit

import httpx


def content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    """(first byte, total bytes) of a Content-Range header (section 14.4); None for what it does not say."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("content-range", "").strip())
    if match is None:
        return None, None
    first, total = match.groups()
    return (int(first) if first else None), (int(total) if total != "*" else None)


def announced_total(response: httpx.Response, start: int) -> int | None:
    """Length in bytes of the whole file, of which this response begins at byte `start`; None when not said."""
    if response.status_code == 206:
        total = content_range(response)[1]
        if total is not None:
            return total
    length = response.headers.get("content-length", "")
    return start + int(length) if length.isdigit() else None


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that a Retry-After header asks for (section 10.2.3: seconds or a date); None without one."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(value)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def transport_fault(error: Exception) -> str:
    """What went wrong on the way, in a sentence."""
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return f"the server cannot be reached ({error or type(error).__name__})"
    if isinstance(error, httpx.TimeoutException):
        return "the server stopped sending"
    return f"the connection failed ({error or type(error).__name__})"


def may_be_changed_on_the_way(url: str) -> bool:
    """Whether an address is reached without TLS, over a network: then nobody vouches for what arrives."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    with contextlib.suppress(ValueError):
        return parts.scheme != "https" and not ipaddress.ip_address(host).is_loopback
    return parts.scheme != "https" and host != "localhost"
