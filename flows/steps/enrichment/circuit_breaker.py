"""Which channel is asked for a post next, which one rests because it keeps failing, and when a run gives up waiting."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable

from blocks.errors import AccountDisabled, BadKey, NoCredits, TagtrailError
from blocks.posts.record import Channel
from flows.steps.enrichment.verdict import MOST_OF_ITS_OWN, REST_AFTER_FAULTS, REST_SECONDS, RESTS_IN_VAIN


class ServiceSilent(TagtrailError):
    """No channel answers any more; nothing more is bought until the next run."""

    halts = True

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        minutes = round(seconds / 60)
        known = f"{minutes} minute{'s' * (minutes != 1)}" if minutes else f"{seconds:.0f} s"
        super().__init__(
            f"the service has answered no metadata call for {known} on any channel; nothing more is bought"
        )


class Barred(TagtrailError):
    """Nobody is let through to the service; nothing more is bought until the next run."""

    halts = True

    def __init__(self, posts: int, said: str) -> None:
        self.posts, self.said = posts, said
        super().__init__(f"calls for {posts} posts in a row were forbidden, and no other was answered: {said}")


class StillRefused(TagtrailError):
    """The service refused lately, and nothing says that it does not any more."""

    halts = True


REFUSALS = (BadKey, NoCredits, AccountDisabled, Barred, ServiceSilent)
"""Halts by the service, which are nobody's decision: a sweep goes on by itself once it serves again."""


class ChannelsSilent(TagtrailError):
    """Some channels do not answer any more, and the others cannot serve all posts."""

    halts = True

    def __init__(self, channels: str) -> None:
        self.channels = channels
        super().__init__(
            f"{channels} answered no call, rest after rest; posts that no other channel serves stay pending"
        )


class ChannelRests(TagtrailError):
    """The channel was sent to rest while a call waited for its turn; nothing was called."""


class Channels:
    """The channels of one run, in order, with a breaker for each.

    A channel that fails `REST_AFTER_FAULTS` times in a row rests for `REST_SECONDS`; then one post tries it again, and
    sends it back to rest if that fails too. The last one awake is sent to rest only by the failures of as many
    different posts: a few that no channel can serve are no reason to stop. Neither are many that failed before, while
    it served others, nor those whose patience is used up: they come to their end.

    Where all channels rest that a post has left it waits. After `RESTS_IN_VAIN` rests of a channel without an answer
    on any, the run is to be halted (`silent`); where others answer, what waits for those that do not is left for
    another run (`gives_up`), and this run is to be halted once the others are served (`unserved`).

    Posts are named by their keys; what a call says that was made before a channel's rest changes nothing of it, unless
    it was answered.
    """

    def __init__(self, order: tuple[Channel, ...], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.order = order
        self.rested: Counter[str] = Counter()
        """How often each channel was sent to rest, for the summary."""
        self.silent: ServiceSilent | Barred | None = None
        """Set once waiting has proved to be of no use."""
        self.unserved: ChannelsSilent | None = None
        """Set once posts were given up that only silent channels could have served."""
        self._monotonic = monotonic
        self._faults: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """Failed calls in a row of each channel, by post."""
        self._own: defaultdict[str, set[str]] = defaultdict(set)
        """Posts that failed on each channel while it served others: it is they that it cannot serve."""
        self._rests_until: dict[str, float] = {}
        """Channels that rest, or are over with it and not tried again yet."""
        self._tried_by: dict[str, str] = {}
        """The post that tries a channel again after its rest."""
        self._tried_in_vain: Counter[tuple[str, str]] = Counter()
        """How often each post tried a channel again in vain since the last answer on any; others go before it."""
        self._in_vain: Counter[str] = Counter()
        """Rests of each channel since the last answer on any."""
        self._unheard: Counter[str] = Counter()
        """Rests of each channel since its own last answer."""
        self._dumb: set[str] = set()
        """Channels that did not answer after `RESTS_IN_VAIN` rests either."""
        self._barred: set[str] = set()
        """Posts whose calls were forbidden by the HTTP status alone since the last answer on any channel."""
        self._failing_since: float | None = None
        """When the first call failed after the last answer."""

    def awake(self, channel: Channel) -> bool:
        """Whether anybody may ask the channel: it does not rest, and was tried again after its last rest."""
        return channel not in self._rests_until

    def left(self, refused_by: set[Channel]) -> bool:
        """Whether there is a channel that has not refused the post yet."""
        return not refused_by.issuperset(self.order)

    def pick(self, refused_by: set[Channel], post: str) -> Channel | None:
        """The next channel for a post; None where it has to wait, as all that it has left rest (`wait_seconds`)."""
        left = [channel for channel in self.order if channel not in refused_by]
        for channel in left:
            if self.awake(channel):
                return channel
            after_others = self._tried_in_vain[channel, post] * REST_SECONDS / 20
            if channel not in self._tried_by and self._monotonic() >= self._rests_until[channel] + after_others:
                self._tried_by[channel] = post
                return channel
        return None

    def gives_up(self, refused_by: set[Channel]) -> bool:
        """Whether a post that has to wait need not: what it has left did not answer after `RESTS_IN_VAIN` rests."""
        left = [channel for channel in self.order if channel not in refused_by]
        if not self._dumb.issuperset(left):
            return False
        self.unserved = self.unserved or ChannelsSilent(" and ".join(left))
        return True

    def may_go(self, channel: Channel, post: str) -> bool:
        """Whether a call that was to be made is still wanted."""
        return self.awake(channel) or self.tries_again(channel, post)

    def put_back(self, channel: Channel, post: str) -> None:
        """The post made no call after all: another one may try the channel."""
        if self._tried_by.get(channel) == post:
            del self._tried_by[channel]

    def wait_seconds(self, refused_by: set[Channel]) -> float:
        """How long a post waits before it asks again for a channel: until the next rest ends, a second at most, for
        one that is tried again may be awake at any moment."""
        now = self._monotonic()
        waits = [self._rests_until.get(channel, now) - now for channel in self.order if channel not in refused_by]
        return min([REST_SECONDS / 60, *(wait for wait in waits if wait > 0)])

    def answered(self, channel: Channel) -> None:
        """The channel answered, be it with a refusal."""
        self._own[channel].update(self._faults[channel])
        self._faults[channel].clear()
        self._tried_in_vain.clear()
        self._rests_until.pop(channel, None)
        self._tried_by.pop(channel, None)
        self._in_vain.clear()
        self._unheard.pop(channel, None)
        self._dumb.discard(channel)
        self._failing_since = None
        self._barred.clear()

    def barred(self, post: str, error: TagtrailError) -> bool:
        """A call was forbidden, and perhaps not because of its post; True where that goes for all (see `silent`)."""
        self._barred.add(post)
        if len(self._barred) >= REST_AFTER_FAULTS:
            self.silent = self.silent or Barred(len(self._barred), str(error))
        return self.silent is not None

    def tries_again(self, channel: Channel, post: str) -> bool:
        """Whether the post is the one that tries the channel after its rest."""
        return self._tried_by.get(channel) == post

    def failed(self, channel: Channel, post: str, *, for_good: bool = False) -> bool:
        """The channel failed; True if that sends it to rest. `for_good`: the post is given up by this."""
        now = self._monotonic()
        self._failing_since = now if self._failing_since is None else self._failing_since
        if self.tries_again(channel, post):
            del self._tried_by[channel]
            self._tried_in_vain[channel, post] += 1
            if self._unheard[channel] >= RESTS_IN_VAIN:
                self._dumb.add(channel)
            none_awake = not any(self.awake(other) for other in self.order)
            if none_awake and self._in_vain[channel] >= RESTS_IN_VAIN:
                self.silent = self.silent or ServiceSilent(now - self._failing_since)
                return False
        elif not self.awake(channel):
            return False
        else:
            others = any(self.awake(other) for other in self.order if other != channel)
            if for_good and not others:
                return False
            faults, own = self._faults[channel], self._own[channel]
            faults[post] += 1
            if others and faults.total() < REST_AFTER_FAULTS:
                return False
            of_their_own = sum(count for key, count in faults.items() if key in own)
            if not others and len(faults.keys() - own) < REST_AFTER_FAULTS and of_their_own < MOST_OF_ITS_OWN:
                return False
            faults.clear()
        self._rests_until[channel] = now + REST_SECONDS
        self._in_vain[channel] += 1
        self._unheard[channel] += 1
        self.rested[channel] += 1
        return True
