"""What a check says, how one asks an address, and the checks of this machine: Python, packages, rooms, clock."""

from __future__ import annotations

import http.client
import importlib.util
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from blocks import network
from blocks.errors import UsageError

Verdict = Literal["ok", "warning", "failed"]
DISTRIBUTION: Final = "tagtrail"
ROOMS: Final = ("blocks", "flows", "deployments")
ROOT: Final = Path(__file__).resolve().parent.parent.parent

SKEW_SECONDS: Final = 10.0
"""A clock that is further off gets a warning: ages of posts and the UTC day of the caps go by it."""

WRONG_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Check:
    """One check; `advice` says what to do, and nothing of it ever holds a secret."""

    name: str
    verdict: Verdict
    said: str
    advice: str = ""

    @property
    def line(self) -> str:
        """The check as one line."""
        advice = f" → {self.advice}" if self.advice else ""
        return f"{self.verdict:<8}{self.name}: {self.said}{advice}"


def ok(name: str, said: str) -> Check:
    return Check(name, "ok", said)


def warning(name: str, said: str, advice: str = "") -> Check:
    return Check(name, "warning", said, advice)


def failed(name: str, said: str, advice: str = "") -> Check:
    return Check(name, "failed", said, advice)


def python_check(version: Iterable[int] = sys.version_info[:3]) -> Check:
    """Whether this Python is one that Tagtrail is made for."""
    running = ".".join(map(str, version))
    try:
        wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    except metadata.PackageNotFoundError:
        return failed("python", f"{running}, and Tagtrail is not installed", _INSTALL)
    if SpecifierSet(wanted).contains(running):
        return ok("python", running)
    return failed("python", f"{running}, where Tagtrail needs {wanted}", "make its environment with another Python")


_INSTALL: Final = "install it: pip install . (or make, in a clone)"


def packages_check(version_of: Callable[[str], str] = metadata.version) -> Check:
    """Whether every package that Tagtrail needs is there, in a version that it was made for."""
    try:
        named = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return failed("packages", "Tagtrail is not installed", _INSTALL)
    needed = [wanted for wanted in map(Requirement, named) if wanted.marker is None or wanted.marker.evaluate()]
    wrong = []
    for wanted in needed:
        try:
            found = version_of(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} {found} is not {wanted.specifier}")
    if wrong:
        return failed("packages", "; ".join(wrong), "pip install --require-hashes -r requirements.lock")
    return ok("packages", f"{len(needed)} as wanted, prefect {version_of('prefect')} among them")


def rooms_check(here: Path, *, rooms: Iterable[str] = ROOMS) -> Check:
    """Whether the rooms' common names resolve to Tagtrail's own files, here and in a process started in `here`."""
    for room in rooms:
        spec = importlib.util.find_spec(room)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found is None or found.parent.parent != ROOT:
            where = "nothing" if found is None else str(found.parent)
            return failed("rooms", f"`import {room}` finds {where}", "take it out of this environment or of PYTHONPATH")
        # A folder without this file never hides a package that has one.
        elsewhere = [
            Path(entry) / room for entry in sys.path if entry and (Path(entry) / room / "__init__.py").exists()
        ]
        if others := [str(path) for path in elsewhere if path.resolve() != ROOT / room]:
            advice = "give Tagtrail an environment alone"
            return warning("rooms", f"there is another {room} at {', '.join(others)}", advice)
        if (here / room / "__init__.py").exists() and (here / room).resolve() != ROOT / room:
            return warning(
                "rooms",
                f"this folder has a {room} of its own, which `python -m` and workers started here would load",
                "start workers in an empty folder",
            )
    return ok("rooms", f"{', '.join(rooms)} are Tagtrail's own, in {ROOT}")


def clock_check(whose: str, ahead_seconds: float | None) -> Check:
    """How far this machine's clock is from one that is so much ahead; None where that does not tell its time."""
    name = f"clock ({whose})"
    if ahead_seconds is None:
        return warning(name, "it does not tell its time, so nothing can be said")
    off = abs(ahead_seconds)
    if off < SKEW_SECONDS:
        return ok(name, "agrees with this machine's to some seconds")
    said = f"it is {off:.0f} s {'ahead of' if ahead_seconds > 0 else 'behind'} this machine's"
    advice = "set this machine's clock (NTP): ages of posts and the day of the caps go by it"
    return failed(name, said, advice) if off >= WRONG_SECONDS else warning(name, said, advice)


ANSWER_SECONDS: Final = 10.0
"""How long an answer to a probe may take."""

MAX_BYTES: Final = 10_000


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """An answer: its status, the beginning of its body, and how far its clock is ahead of ours (seconds; ± 1)."""

    status: int
    body: str
    ahead_seconds: float | None


class ProbeFailed(Exception):
    """No answer came; the message says why, in a few words."""


def probe(url: str, *, seconds: float = ANSWER_SECONDS) -> ProbeResult:
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
