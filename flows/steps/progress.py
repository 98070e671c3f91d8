"""What a run has done so far, for whoever watches it from the same process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.steps.summary import RunSummary

RECENT_POSTS = 50
STILL_SECONDS = 10.0
"""Without a post for so long a run waits for something, and its pace says nothing."""


@dataclass(slots=True)
class Progress:
    """Counters of one run, changed in place while it goes on; times are aware, in UTC, costs US dollars."""

    stage: str = "starting"
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
    started_at: datetime | None = None
    recent: deque[datetime] = field(default_factory=lambda: deque(maxlen=RECENT_POSTS))
    """When the last posts were enriched."""
    turns_awaited: int = 0
    """Imports that wait for the account's rate before they are sent."""
    paused_until: datetime | None = None
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=100))
    summary: RunSummary | None = None
    """The run's result, once there is one."""

    @property
    def settled(self) -> int:
        """Posts that need nothing more in this run."""
        return self.enriched + self.fresh + self.failed + self.gone

    def one_enriched(self, now: datetime) -> None:
        """Count a post that was measured."""
        self.enriched += 1
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
