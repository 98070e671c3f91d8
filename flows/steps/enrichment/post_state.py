"""One post on its way through a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from blocks.posts.identity import item_key
from blocks.posts.record import Channel, PostRef


@dataclass(frozen=True, slots=True)
class Bought:
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
    tries: Counter[str] = field(default_factory=Counter)
    """Failed calls by kind (see `policy.counted_as`), on the channel that is being tried."""
    attempts: int = 0
    """Calls made for this post, on all channels."""
    ever: Counter[str] = field(default_factory=Counter)
    """Failed calls by kind on all channels, and in earlier runs, since it was last asked for anew."""
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
    answer: Bought | None = None
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
    def unseen(self) -> int:
        """Calls whose answers were lost or cannot be read: each may have been billed."""
        return self.ever["lost"]
