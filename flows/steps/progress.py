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
    first_enriched_at: datetime | None = None
    paused_until: datetime | None = None
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=100))
    summary: RunSummary | None = None
    """The run's result, once there is one."""

    @property
    def settled(self) -> int:
        """Posts that need nothing more in this run."""
        return self.enriched + self.fresh + self.failed + self.gone

    def rate_per_second(self, now: datetime) -> float | None:
        """Posts enriched per second since the first one; None before there are two."""
        if self.first_enriched_at is None or self.enriched < 2:
            return None
        seconds = (now - self.first_enriched_at).total_seconds()
        return (self.enriched - 1) / seconds if seconds > 0 else None


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
