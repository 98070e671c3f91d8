"""What the steps of a run work with, each thing by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunContext:
    """One run's facts and ports, complete when it is made.

    It goes to no task: Prefect looks through each dataclass that a task is given, posts of the request and all.
    """

    run_id: str
    owner: str
    """In whose name posts and imports are leased."""
    request: RunRequest
    settings: Settings
    comment_key: bytes
    store: Store
    client: MemoriesClient
    limiter: Limiter
    budget: Budget
    channels: Channels
    halt: HaltSwitch
    leases: LeaseHealth
    journal: Journal
    progress: Progress
    clock: Callable[[], datetime]
    fresh_after: datetime
    """Metadata measured at or after this moment is not bought again: one moment for the whole run."""
