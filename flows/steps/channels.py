"""Which channel is asked for a post next, and which one rests because it keeps failing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from blocks.memories.posts.record import Channel
from flows.steps.policy import REST_AFTER_FAULTS, REST_SECONDS


class Channels:
    """The channels of one run, in order, with a breaker for each.

    A channel that fails `REST_AFTER_FAULTS` times in a row rests for `REST_SECONDS`; then one post tries it
    again. Where every channel of a post rests, the first is asked all the same: a run never stands still.
    """

    def __init__(self, order: tuple[Channel, ...], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.order = order
        self.rested: Counter[str] = Counter()
        """How often each channel was sent to rest, for the summary."""
        self._monotonic = monotonic
        self._faults: Counter[str] = Counter()
        self._resting_until: dict[str, float] = {}

    def resting(self, channel: Channel) -> bool:
        """Whether the channel rests now."""
        return self._monotonic() < self._resting_until.get(channel, 0.0)

    def pick(self, tried: set[Channel]) -> Channel | None:
        """The next channel for a post that was refused by `tried`; None when there is none left."""
        left = [channel for channel in self.order if channel not in tried]
        return next((channel for channel in left if not self.resting(channel)), left[0] if left else None)

    def served(self, channel: Channel) -> None:
        """The channel answered."""
        self._faults[channel] = 0

    def failed(self, channel: Channel) -> bool:
        """The channel failed; True if that sends it to rest."""
        self._faults[channel] += 1
        if self._faults[channel] < REST_AFTER_FAULTS or len(self.order) == 1:
            return False
        self._faults[channel] = 0
        self._resting_until[channel] = self._monotonic() + REST_SECONDS
        self.rested[channel] += 1
        return True
