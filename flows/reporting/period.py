"""The time that a report is about, and the one before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from blocks.errors import UsageError

DAYS: Final = 7
"""A report is about so many days, unless somebody asks for others."""
MAX_DAYS: Final = 3650

LOOKBACK: Final = timedelta(days=90)
"""Baselines and growth rest on posts of so many days before the period's end."""


@dataclass(frozen=True, slots=True)
class Period:
    """Posts posted from `begin` (None: all that were ever found) up to `end`, by what was known at `as_of`."""

    begin: datetime | None
    end: datetime
    as_of: datetime

    @property
    def before(self) -> Period | None:
        """The period of the same length just before; None where this one has no beginning."""
        if self.begin is None:
            return None
        return Period(self.begin - (self.end - self.begin), self.begin, self.as_of)

    @property
    def posted_from(self) -> datetime | None:
        """Posts since then are looked at: those of both periods, and those that they are compared with."""
        before = self.before
        return None if before is None or before.begin is None else min(before.begin, self.end - LOOKBACK)

    @property
    def words(self) -> str:
        """`7 days`, `36 hours`, `all time`."""
        if self.begin is None:
            return "all time"
        hours = (self.end - self.begin) / timedelta(hours=1)
        return f"{hours / 24:g} days" if hours % 24 == 0 and hours != 24 else f"{hours:g} hours"


def period_of(
    *,
    days: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    as_of: datetime | None = None,
    now: datetime,
) -> Period:
    """The period that somebody asked for; `days` 0 is all time, nothing at all the last 7 days.

    Raises:
        UsageError: what was asked for is no period, or lies ahead.
    """
    as_of = as_of or now
    until = until or as_of
    if days is not None and since is not None:
        raise UsageError("give --days or --since, not both")
    if days is not None and not 0 <= days <= MAX_DAYS:
        raise UsageError(f"--days is from 1 to {MAX_DAYS}, or 0 for all time; not {days}")
    if as_of > now:
        raise UsageError(f"--as-of {as_of:%Y-%m-%d %H:%M} UTC lies ahead; a report says what was known at a past time")
    if until > as_of:
        raise UsageError("--until lies behind --as-of (by itself: now): nothing is known of that time yet")
    if since is not None and since >= until:
        raise UsageError(f"--since {since:%Y-%m-%d %H:%M} UTC is not before the period's end ({until:%Y-%m-%d %H:%M})")
    if since is None and days != 0:
        since = until - timedelta(days=DAYS if days is None else days)
    return Period(since, until, as_of)
