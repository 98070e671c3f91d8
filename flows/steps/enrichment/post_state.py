"""One post on its way through a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from blocks.errors import TagtrailError
from blocks.posts.identity import item_key
from blocks.posts.record import Channel, PostRef
from flows.steps.enrichment.verdict import History, counts_over_runs, kind_of


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer that is stored: its envelope's data, the hash of what was stored, and when it came."""

    data: Any
    sha256: str
    observed_at: datetime


@dataclass(slots=True)
class PostTask:
    """One post that this run has to account for, and what was tried for it so far."""

    ref: PostRef
    source_url: str | None
    purpose: str = "enrich"
    collection: str | None = None
    """The collection that pays for it; None: the run's."""
    ends_at: datetime | None = None
    """From then on it is not bought any more: the window of its checkpoint is over."""
    asked_by: str | None = None
    """The run under whose cap it is bought as well; None: this one's."""
    failures: Counter[str] = field(default_factory=Counter)
    """Failed calls by kind (see `verdict.kind_of`), on the channel that is being tried."""
    attempts: int = 0
    """Calls made for this post, on all channels."""
    failures_ever: Counter[str] = field(default_factory=Counter)
    """Failed calls by kind, on all channels, and in earlier runs, since it was last asked for anew."""
    refused_by: set[Channel] = field(default_factory=set)
    """Channels that could not serve it."""
    claimed_at: float | None = None
    """When its lease was taken, or last looked at, by `awake_seconds`; None: nobody claimed it (the doctor's)."""
    lost: bool = False
    """Another run took it over; what comes of it is looked up later."""
    last_failure: str = ""
    """Why its last call failed, in words that may stand in Prefect: `HTTP 502 from apify`."""
    outcome: str | None = None
    """enriched | failed | gone once it is settled, pending where the run halted first, or may not buy it."""
    answer: Fetched | None = None
    """The last answer that came for it."""
    unparsed: tuple[str, Channel, datetime] | None = None
    """A payload that a killed run stored and did not parse: its hash, channel and time."""

    @property
    def key(self) -> str:
        """`platform:post_id`."""
        return item_key(self.ref)

    @property
    def shown(self) -> str:
        """The post's code as its URL has it."""
        return self.ref.shortcode or self.ref.post_id

    @property
    def lost_answers(self) -> int:
        """Calls whose answers were lost or cannot be read: each may have been billed."""
        return self.failures_ever["lost"]

    def count_failure(self, error: TagtrailError, *, probe: bool) -> None:
        """Count a failed call. That of a probe counts in all only: any other post might have made it."""
        if not probe:
            self.failures[kind_of(error)] += 1
        if counts_over_runs(error):
            self.failures_ever[kind_of(error)] += 1

    def history_of(self, error: TagtrailError, channel: Channel, order: Sequence[Channel]) -> History:
        """What is behind the post when a call through this channel has failed, and was counted."""
        kind = kind_of(error)
        left = set(order) - self.refused_by - {channel}
        return History(self.failures[kind], self.failures_ever[kind], channels=len(order), channels_left=len(left))
