"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from cyclopts import Parameter

from blocks.memories.errors import UsageError
from flows.steps.wish import NO_CAP_USD, ChannelChoice, Library

PlatformName = Literal["instagram", "tiktok", "youtube", "x"]
__all__ = [
    "ChannelChoice",
    "Flag",
    "Hours",
    "Library",
    "Loud",
    "Output",
    "PlatformName",
    "Spend",
    "moment",
    "spend_cap",
]


Flag = Parameter(negative="", show_default=False)
"""How a switch is shown: without its negation."""

Spend = Annotated[str | None, Parameter(show_default=False)]
"""US dollars, or `none`; see `spend_cap`."""

Hours = Annotated[float | None, Parameter(show_default=False)]
"""Hours; None where the settings decide."""


def spend_cap(typed: str | None, of_settings: float | None) -> float:
    """The cap on a run's spending in US dollars; a very large number stands for "none".

    Raises:
        UsageError: not a number of 0 or more, nor `none`.
    """
    if typed is None:
        return NO_CAP_USD if of_settings is None else of_settings
    if typed.strip().lower() == "none":
        return NO_CAP_USD
    try:
        cap = float(typed)
    except ValueError:
        cap = math.nan
    if not 0 <= cap < math.inf:
        raise UsageError(f"--max-spend is an amount of US dollars, such as 2.50, or none; not {typed}")
    return cap


def moment(option: str, typed: str, now: datetime) -> datetime:
    """A time as typed: a date, a time (UTC unless it says otherwise), or so long ago (`7d`, `24h`).

    Raises:
        UsageError: none of these; the message names the option.
    """
    if ago := re.fullmatch(r"(\d{1,5})([dh])", typed.strip()):
        count = int(ago[1])
        return now - (timedelta(days=count) if ago[2] == "d" else timedelta(hours=count))
    try:
        read = datetime.fromisoformat(typed.strip())
    except ValueError:
        raise UsageError(f"{option} is a date such as 2026-11-01, a time, or 7d or 24h; not {typed}") from None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    """How a command speaks.

    Parameters
    ----------
    json
        Write the result as JSON to standard output, and nothing else.
    verbose
        Show the traceback of an error.
    """

    json: Annotated[bool, Flag] = False
    verbose: Annotated[bool, Flag] = False


@Parameter(name="*")
@dataclass(frozen=True)
class Loud:
    """The one option of commands that have no JSON.

    Parameters
    ----------
    verbose
        Show the traceback of an error.
    """

    verbose: Annotated[bool, Flag] = False
