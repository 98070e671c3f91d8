"""The time that a report is about, and the one before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

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
