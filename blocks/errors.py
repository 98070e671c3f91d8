"""Everything that can go wrong between Tagtrail, its user and the remote API, as one tree.

    TagtrailError                     the base; `halts` says whether a run must stop spending at once
    ├── UsageError                    wrong input, refused before anything is sent
    │   └── NotAPostUrl               a URL that names no post of a known platform
    ├── MemoriesError                 a call of the API that did not give what was asked (endpoint, code, message, …)
    │   ├── Refused                   they said no: nothing was started, nothing is billed
    │   │   ├── BadParameters
    │   │   ├── BadKey                halts
    │   │   ├── NoCredits             halts
    │   │   ├── AccountDisabled       halts
    │   │   ├── PermissionDenied
    │   │   ├── TooManyRequests       retry_after_seconds says for how long
    │   │   ├── Busy
    │   │   ├── Duplicate
    │   │   ├── NotFound
    │   │   └── Transient             "network abnormal", or success without success: a submission is ambiguous
    │   ├── NotSent                   nothing left this machine: connection refused, no such host
    │   ├── NoAnswer                  sent, and no (whole) answer came: what they did is unknown
    │   ├── ServerFault               they fell over (5xx): what they did is unknown
    │   └── Unreadable                an answer that nobody can read: what they did is unknown
    ├── PayloadError                  the metadata came, and is no usable post
    │   ├── UnknownShape              keys: the top keys that it had
    │   ├── PostGone                  the platform says that the post is private or removed
    │   └── WrongPost                 the payload is about another post than the one asked for
    ├── SpendCapReached               halts; nothing was bought
    ├── ServicePaused                 halts; the service asked to be left alone for long, `until` says till when
    ├── Held                          a person stopped the run that asked for it; nothing was bought
    ├── ValveClosed                   halts; an operator stopped all buying
    └── StoreError                    the database cannot be used as it is (schema behind, locked, full)

Every error keeps its facts as attributes, survives pickling, and never holds a key.
"""

from __future__ import annotations

import errno
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final

from blocks.dollars import dollars


class TagtrailError(Exception):
    """Base of all errors of Tagtrail; `str()` is one sentence for the user."""

    halts: ClassVar[bool] = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))

    @property
    def error_class(self) -> str:
        """The class's name, as it stands in failure rows and summaries."""
        return type(self).__name__


def _rebuild(cls: type[TagtrailError], args: tuple[Any, ...], facts: dict[str, Any]) -> TagtrailError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(facts)
    return error


def _one_line(text: str, most: int) -> str:
    """Foreign words as a terminal may show them: one short line, and nothing that steers it."""
    line = " ".join(text.split())[:most]
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


class UsageError(TagtrailError):
    """Wrong input; the message says what to do."""


class NotAPostUrl(UsageError):
    """A URL that names no post of a known platform."""


class MemoriesError(TagtrailError):
    """A call of the remote API that did not give what was asked for.

    `endpoint` is the path without host or query, `code` the business code as text (`"0402"`) or None,
    `http_status` the status line's number or None, `message` the API's own words, cut to 300 characters,
    `retry_after_seconds` what `Retry-After` asked for (more than 0) or None, `calls` how many calls were made
    for it (more than 1 where other forms of the URL were tried): each may have to be paid.
    """

    what: ClassVar[str] = "the API did not give what was asked for"

    def __init__(
        self,
        message: str = "",
        *,
        endpoint: str = "",
        code: str | None = None,
        http_status: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        self.message = _one_line(message, 300)
        self.endpoint = endpoint
        self.code = None if code is None else _one_line(code, 40)
        self.http_status = http_status
        self.retry_after_seconds = retry_after_seconds
        self.calls = 1
        super().__init__(self.message)

    def __str__(self) -> str:
        facts = [f"code {self.code}"] if self.code is not None else []
        if self.http_status is not None and self.http_status != 200:
            facts.append(f"HTTP {self.http_status}")
        where = f" at {self.endpoint}" if self.endpoint else ""
        known = f" ({', '.join(facts)})" if facts else ""
        said = f': "{self.message}"' if self.message else ""
        return f"{self.what}{where}{known}{said}"


class Refused(MemoriesError):
    """They said no: nothing was started and nothing is billed."""

    what = "the API refused the request"


class BadParameters(Refused):
    what = "the API refused the parameters"


class BadKey(Refused):
    """The key is refused; `advice` says where to put another one, if the client knows where it came from."""

    halts = True
    what = "the API key is missing or not accepted"
    advice = ""

    def __str__(self) -> str:
        return "; ".join(part for part in (super().__str__(), self.advice) if part)


class NoCredits(Refused):
    halts = True
    what = "the account has no credits left"


class AccountDisabled(Refused):
    halts = True
    what = "the developer account is disabled"


class PermissionDenied(Refused):
    what = "the account may not do this"


class TooManyRequests(Refused):
    """Too many requests; `retry_after_seconds` says how long to wait, if the answer said so."""

    what = "too many requests"


class Busy(Refused):
    what = "the service is busy"


class Duplicate(Refused):
    what = "the API took the request for a repeated one"


class NotFound(Refused):
    what = "the API does not know it"


class Transient(Refused):
    """It may pass. Of a metadata call nothing is billed; whether a submission began an import, nobody knows."""

    what = "a passing fault of the API"


class NotSent(MemoriesError):
    """Nothing left this machine, so nothing can have been started or billed."""

    what = "the API could not be reached"


class NoAnswer(MemoriesError):
    """The request was (or may have been) sent and no whole answer came: what they did is unknown."""

    what = "no answer from the API"


class ServerFault(MemoriesError):
    """The server fell over (5xx): what it did before is unknown."""

    what = "the API failed"


class Unreadable(MemoriesError):
    """An answer that is no JSON envelope; `body` holds its bytes, for the raw store (never printed)."""

    what = "the API's answer cannot be read"

    def __init__(self, message: str = "", *, body: bytes = b"", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.body = body


class PayloadError(TagtrailError):
    """Metadata came, and it is no usable post."""


class UnknownShape(PayloadError):
    """A payload of a shape that no mapper knows; `keys` are its top keys, sorted."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys
        shown = ", ".join(keys[:12]) + (" …" if len(keys) > 12 else "")
        empty = "the payload is empty: the service says neither what the post is nor that it is gone"
        super().__init__(f"payload of unknown shape; its keys: {shown}" if keys else empty)


class PostGone(PayloadError):
    """The platform says that the post is private, removed or never was."""


class WrongPost(PayloadError):
    """The payload is about another post than the one that was asked for."""


class SpendCapReached(TagtrailError):
    """A cap on spending would have been overstepped; nothing was bought.

    `scope` is "run", "request" (the cap of the run for which another buys), "day" or "collection"; amounts are US
    dollars.
    """

    halts = True

    def __init__(self, scope: str, cap_usd: float, reserved_usd: float, wanted_usd: float) -> None:
        self.scope, self.cap_usd, self.reserved_usd, self.wanted_usd = scope, cap_usd, reserved_usd, wanted_usd
        super().__init__(
            f"the spend cap of {cap_usd:.2f} USD per {scope} is reached: {dollars(reserved_usd)} USD are spent or "
            f"reserved and {dollars(wanted_usd)} USD more were wanted; raise the cap to go on"
        )


class ServicePaused(TagtrailError):
    """The service asked for a wait that is too long for a run; `limit` names what may not be called, `until` is UTC."""

    halts = True

    def __init__(self, limit: str, until: datetime) -> None:
        self.limit, self.until = limit, until
        super().__init__(
            f"the service asked for no more calls ({limit}) before {until:%Y-%m-%d %H:%M:%S} UTC; come back then"
        )


class Held(TagtrailError):
    """A person stopped the run that asked for it; nothing was bought."""


class ValveClosed(TagtrailError):
    """An operator stopped all buying by Prefect's limit `tagtrail-inflight`."""

    halts = True


class StoreError(TagtrailError):
    """The database cannot be used as it is; the message says what to do."""

    met_by_all: bool = False
    """Whether every other statement would have met the same."""


_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

NO_ROOM: Final = "no space is left on its disk; free some and run the same command again"


def is_full(error: BaseException) -> bool:
    """Whether a disk (or a quota on it) is full."""
    return isinstance(error, OSError) and error.errno in _DISK_FULL


def unwritable(path: Path, error: OSError) -> TagtrailError:
    """What to raise for a file that cannot be written: UsageError, for its path is wrong, unless the disk is full."""
    if is_full(error):
        return TagtrailError(f"{path} cannot be written: {NO_ROOM}")
    return UsageError(f"{path} cannot be written: {error.strerror or error}")
