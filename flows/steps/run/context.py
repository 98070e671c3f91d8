"""What the steps of a run work with, each thing by its name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from blocks.database.engine import Store
from blocks.memories.client import MemoriesClient
from blocks.quotas.budget import Budget
from blocks.quotas.rate_limiter import Limiter
from blocks.settings import Settings
from flows.steps.enrichment.circuit_breaker import Channels
from flows.steps.run.halt_switch import HaltSwitch
from flows.steps.run.journal import Journal
from flows.steps.run.lease_health import LeaseHealth
from flows.steps.run.progress import Progress
from flows.steps.run.request import RunRequest


class RunContext:
    """One run's facts and ports. It is complete when it is made, and none of its names is bound anew.

    It goes to tasks as an argument. It is no dataclass on purpose: Prefect looks through the dataclasses, models and
    collections that a task is given, each time, and leaves any other object alone.
    """

    def __init__(
        self,
        *,
        run_id: str,
        owner: str,
        request: RunRequest,
        settings: Settings,
        comment_key: bytes,
        store: Store,
        client: MemoriesClient,
        limiter: Limiter,
        budget: Budget,
        channels: Channels,
        halt: HaltSwitch,
        leases: LeaseHealth,
        journal: Journal,
        progress: Progress,
        clock: Callable[[], datetime],
    ) -> None:
        self.run_id: Final = run_id
        self.owner: Final = owner
        """In whose name posts and imports are leased."""
        self.request: Final = request
        self.settings: Final = settings
        self.comment_key: Final = comment_key
        self.store: Final = store
        self.client: Final = client
        self.limiter: Final = limiter
        self.budget: Final = budget
        self.channels: Final = channels
        self.halt: Final = halt
        self.leases: Final = leases
        self.journal: Final = journal
        self.progress: Final = progress
        self.clock: Final = clock
        self.fresh_after: Final = clock() - timedelta(hours=request.max_age_hours)
        """Metadata measured at or after this moment is not bought again: one moment for the whole run."""
