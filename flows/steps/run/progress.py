"""What a run has done so far, for whoever watches it from the same process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from flows.steps.run.summary import RunSummary

RECENT_POSTS = 50
NOT_ENDED = ("planned", "sending", "submitted", "collecting", "ambiguous")
"""States of an import of which more may come, or somebody has to decide."""

STILL_SECONDS = 10.0
"""Without a post for so long a run waits for something, and its pace says nothing."""


@dataclass(slots=True)
class Progress:
    """Counters of one run, changed in place while it goes on; times are aware, in UTC, costs US dollars."""

    imports_open: int = 0
    imports_done: int = 0
    found: int = 0
    """Distinct posts that the run has to account for so far."""
    enriched: int = 0
    """Posts measured by this run."""
    fresh: int = 0
    """Posts whose stored metadata is young enough; not bought again."""
    failed: int = 0
    gone: int = 0
    cost_usd: float = 0.0
    """What was billed so far, looked up now and then: metadata calls, and imports that have ended. It never falls."""
    imports_settled: int | None = None
    """Imports that are finished by the ledger (ambiguous ones are not), looked up now and then."""
    started_at: datetime | None = None
    recent: deque[datetime] = field(default_factory=lambda: deque(maxlen=RECENT_POSTS))
    """When the last posts were enriched."""
    imports_waiting: int = 0
    """Imports that wait for the account's rate before they are sent."""
    paused_until: datetime | None = None
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=100))
    summary: RunSummary | None = None
    """The run's result, once there is one."""
    ended_by: int | None = None
    """The signal by which a person stopped the run."""

    @property
    def stage(self) -> str:
        """What it is at, in one word."""
        if self.started_at is None:
            return "starting"
        return "importing" if self.imports_open else "enriching"

    @property
    def imports(self) -> int:
        """Imports of the run, whatever became of them."""
        return self.imports_open + self.imports_done if self.summary is None else len(self.summary.imports)

    @property
    def imports_finished(self) -> int:
        """Imports of which nothing more is expected."""
        if self.summary is not None:
            return sum(one.state not in NOT_ENDED for one in self.summary.imports)
        return self.imports_done if self.imports_settled is None else min(self.imports_settled, self.imports)

    @property
    def spent_usd(self) -> float:
        """What the run cost so far, or in all once it has ended."""
        return self.cost_usd if self.summary is None else self.summary.cost_usd

    @property
    def settled(self) -> int:
        """Posts that need nothing more in this run."""
        return self.enriched + self.fresh + self.failed + self.gone

    def count(self, outcome: Literal["enriched", "failed", "gone"], now: datetime) -> None:
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome != "enriched":
            return
        if self.recent and (now - self.recent[-1]).total_seconds() > STILL_SECONDS:
            # The run waited for something in between, which is no part of its pace.
            self.recent.clear()
        self.recent.append(now)

    def rate_per_second(self, now: datetime) -> float | None:
        """Posts enriched per second, by the last fifty; None before there are two, and where none came for a while."""
        if len(self.recent) < 2 or (now - self.recent[-1]).total_seconds() > STILL_SECONDS:
            return None
        seconds = (now - self.recent[0]).total_seconds()
        return (len(self.recent) - 1) / seconds if seconds > 0 else None


_watched: ContextVar[Progress | None] = ContextVar("tagtrail_progress", default=None)


@contextmanager
def watch(progress: Progress) -> Iterator[Progress]:
    """Have the next run in this context keep its counters in `progress`."""
    token = _watched.set(progress)
    try:
        yield progress
    finally:
        _watched.reset(token)


def current_progress() -> Progress:
    """The progress that somebody watches, else a new one that nobody does."""
    return _watched.get() or Progress()
