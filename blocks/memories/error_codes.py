"""Which error a refusal of the API stands for, by its code or the HTTP status, and by its words."""

from __future__ import annotations

import re

from blocks.errors import (
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
_BUSY = re.compile(r"\b(?:service|server|system)(?: is)?(?: too| very| currently)? busy\b", re.IGNORECASE)
"""What the contract knows of a busy service. A submission that met one is sent again, so "busy" alone does not do."""

# What a refusal under a code of success means, which its words alone tell. Any other may pass. No contract knows such
# refusals, so a submission that met one is ambiguous, whatever the words (`contradicts_itself`).
_BY_WORDS: tuple[tuple[re.Pattern[str], type[MemoriesError]], ...] = (
    (re.compile(r"rate limit|too many|exceeded the limit", re.IGNORECASE), TooManyRequests),
    (re.compile(r"(?:insufficient|not enough|no) credits?", re.IGNORECASE), NoCredits),
    (re.compile(r"unauthori[sz]ed|(?:invalid|missing) (?:api )?key", re.IGNORECASE), BadKey),
    (re.compile("busy", re.IGNORECASE), Busy),
    (_UNKNOWN, NotFound),
    (re.compile(r"\bparameters?\b", re.IGNORECASE), BadParameters),
)


def contradicts_itself(error: MemoriesError) -> bool:
    """Whether the answer refused under a code of success: what the service did, nobody knows."""
    return error.code in ("0000", "0", "200") and (error.http_status or 200) < 400


def refusal_class(number: int, said: str) -> type[MemoriesError]:
    """The error for a code (contract §6) or an HTTP status; some codes mean several things: the message says which."""
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
