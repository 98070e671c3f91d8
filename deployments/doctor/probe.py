"""A probe of an address over HTTP, without credentials: does it answer, what does it say, what is its time."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from blocks import network
from blocks.errors import UsageError

SECONDS: Final = 10.0
"""How long an answer may take."""

MAX_BYTES: Final = 10_000


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """An answer: its status, the beginning of its body, and how far its clock is ahead of ours (seconds; ± 1)."""

    status: int
    body: str
    ahead_seconds: float | None


class ProbeFailed(Exception):
    """No answer came; the message says why, in a few words."""


def probe(url: str, *, seconds: float = SECONDS) -> ProbeResult:
    """Ask for a page, without credentials, and without following redirects anywhere else.

    Raises:
        ProbeFailed: no answer, or none of HTTP.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ProbeFailed("it is no http(s) address")
    try:
        proxy = network.proxy_for(parts.scheme, parts.hostname)
        https = parts.scheme == "https"
        trusted = (network.certificates() or ssl.create_default_context()) if https else _UNUSED
    except UsageError as error:
        raise ProbeFailed(str(error)) from None
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({parts.scheme: proxy} if proxy else {}),
        urllib.request.HTTPSHandler(context=trusted),
        _NoRedirects(),
    )
    try:
        with opener.open(url, timeout=seconds) as answer:
            return _result(answer.status, answer.read(MAX_BYTES), answer.headers.get("date"))
    except urllib.error.HTTPError as error:
        with error:
            return _result(error.code, error.read(MAX_BYTES), error.headers.get("date"))
    except urllib.error.URLError as error:
        raise ProbeFailed(str(getattr(error.reason, "strerror", None) or error.reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ProbeFailed(str(error) or type(error).__name__) from None


# Without one urllib makes one by the environment, also for a page that needs none.
_UNUSED: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _result(status: int, body: bytes, date: str | None) -> ProbeResult:
    ahead: float | None = None
    if date is not None:
        try:
            ahead = (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            ahead = None
    return ProbeResult(status, body.decode("utf-8", "replace"), ahead)
