"""Which error a refusal of the API stands for: told by its code or the HTTP status, and by its words."""

from __future__ import annotations

import re

from blocks.memories.errors import (
    BadKey,
    BadParameters,
    Busy,
    Duplicate,
    MemoriesError,
    NoCredits,
    NotFound,
    PermissionDenied,
    Refused,
    ServerFault,
    TooManyRequests,
    Transient,
)

# Codes as numbers ("0402" and 402 are one code); those that need the message to be understood are in `refusal_class`.
_CLASSES: dict[int, type[MemoriesError]] = {
    3: BadParameters,
    401: BadKey,
    402: NoCredits,
    403: PermissionDenied,  # By status alone; the business code is a disabled account.
    404: NotFound,
    405: BadParameters,
    408: ServerFault,
    413: BadParameters,
    415: BadParameters,
    422: BadParameters,
    429: TooManyRequests,
    9009: PermissionDenied,
}

_PASSING = re.compile(r"network|abnormal|time[d ]*out|try again|try later|temporar", re.IGNORECASE)
_UNKNOWN = re.compile(r"not (?:be )?found|no static resource|does not exist|no videos? found", re.IGNORECASE)
_BUSY = re.compile(r"busy|try (?:again|later)", re.IGNORECASE)

# What a refusal under a code of success means, which its words alone tell. Any other may pass; "try again" alone is
# no busy service, for a submission that met one is sent again.
_BY_WORDS: tuple[tuple[re.Pattern[str], type[MemoriesError]], ...] = (
    (re.compile(r"rate limit|too many|exceeded the limit", re.IGNORECASE), TooManyRequests),
    (re.compile(r"(?:insufficient|not enough|no) credits?", re.IGNORECASE), NoCredits),
    (re.compile(r"unauthori[sz]ed|(?:invalid|missing) (?:api )?key", re.IGNORECASE), BadKey),
    (re.compile("busy", re.IGNORECASE), Busy),
    (_UNKNOWN, NotFound),
    (re.compile(r"\bparameters?\b", re.IGNORECASE), BadParameters),
)


def refusal_class(number: int, said: str) -> type[MemoriesError]:
    """The error for a code (contract §6) or an HTTP status; some codes mean several things, told by the message."""
    if number in (0, 200):
        return next((kind for words, kind in _BY_WORDS if words.search(said)), Transient)
    if number in (1, 400):
        if _UNKNOWN.search(said):
            return NotFound
        return Transient if _PASSING.search(said) else BadParameters
    if number == 409:
        return Busy if _BUSY.search(said) else Duplicate
    if 500 <= number < 600:
        return ServerFault
    return _CLASSES.get(number, Refused)
