"""Which channel is asked for a post next, which one rests because it keeps failing, and when a run gives up waiting."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Set
from typing import Literal

from blocks.errors import AccountDisabled, BadKey, NoCredits, TagtrailError
from blocks.posts.record import CHANNELS, Channel

MAX_FAILURES = 5
"""So many failed calls in a row open a circuit breaker."""

MAX_FAILURES_OF_KNOWN = 4 * MAX_FAILURES
"""So many in a row open the last one also where they are of posts that failed before, beside others served."""

MAX_FAILED_PROBES = 3
"""After so many failed probes nobody waits for the channel any longer."""


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


class CircuitBreaker:
    """Keeps posts from a channel that fails.

    - closed: every post may ask the channel. `MAX_FAILURES` failures in a row open it.
    - open: no post may, for `rest_seconds`.
    - half-open: one post may, the probe. An answer closes the breaker, a failure opens it again.

    What a call says that was made before the breaker opened changes nothing, unless it was answered.
    """

    def __init__(self, rest_seconds: float, monotonic: Callable[[], float]) -> None:
        self.times_opened = 0
        self._rest_seconds = rest_seconds
        self._monotonic = monotonic
        self._open_until: float | None = None
        self._probe: str | None = None
        """The post that has the one call of a half-open breaker."""
        self._failures: Counter[str] = Counter()
        """Failed calls in a row while it is closed, by post."""
        self._known: set[str] = set()
        """Posts that failed here while the channel served others: it is they that it cannot serve."""
        self._failed_probes: Counter[str] = Counter()
        """Failed probes since the channel's last answer, by post."""

    @property
    def state(self) -> Literal["closed", "open", "half-open"]:
        if self._open_until is None:
            return "closed"
        return "open" if self.seconds_open > 0 else "half-open"

    @property
    def seconds_open(self) -> float:
        """How long it stays open; 0 where it is not."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._monotonic())

    @property
    def is_dead(self) -> bool:
        """Whether the channel answered no probe, so often that nobody waits for it any longer."""
        return self._failed_probes.total() >= MAX_FAILED_PROBES

    def allows(self, post: str) -> bool:
        return self.state == "closed" or self.is_probe(post)

    def is_probe(self, post: str) -> bool:
        return self._probe == post

    def admit(self, post: str) -> bool:
        """Let a post in, if it may come; of a half-open breaker it is the probe from then on."""
        if self._open_until is None:
            return True
        # Others probe first: a post may fail because no channel can serve it.
        since = self._open_until + self._failed_probes[post] * self._rest_seconds / 20
        if self._probe is not None or self._monotonic() < since:
            return False
        self._probe = post
        return True

    def release(self, post: str) -> None:
        """The post made no call after all: another one may be the probe."""
        if self.is_probe(post):
            self._probe = None

    def answered(self) -> None:
        """The channel answered, be it with a refusal."""
        self._known.update(self._failures)
        self._failures.clear()
        self._failed_probes.clear()
        self._open_until = self._probe = None

    def failed(self, post: str, *, others_closed: bool, final: bool = False) -> bool:
        """A call failed; True if that opens the breaker.

        Args:
            others_closed: another channel can be asked. The last one is harder to open, for posts that no channel can
                serve are no reason to stop.
            final: the post is given up by this failure.
        """
        if self.is_probe(post):
            self._failed_probes[post] += 1
        elif self.state != "closed" or (final and not others_closed):
            return False
        else:
            self._failures[post] += 1
            if not self._should_open(others_closed=others_closed):
                return False
            self._failures.clear()
        self._probe = None
        self._open_until = self._monotonic() + self._rest_seconds
        self.times_opened += 1
        return True

    def _should_open(self, *, others_closed: bool) -> bool:
        if others_closed:
            return self._failures.total() >= MAX_FAILURES
        unknown = self._failures.keys() - self._known
        of_known = sum(count for post, count in self._failures.items() if post in self._known)
        return len(unknown) >= MAX_FAILURES or of_known >= MAX_FAILURES_OF_KNOWN


class Channels:
    """The channels of one run, in order, with a circuit breaker for each. Posts are named by their keys."""

    def __init__(
        self, order: tuple[Channel, ...], *, rest_seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.order = order
        self._rest_seconds = rest_seconds
        self.silent: ServiceSilent | Barred | None = None
        """Set once waiting has proved to be of no use: the run is to be halted."""
        self.unserved: ChannelsSilent | None = None
        """Set once a post was left that only dead channels could have served: the run is to be halted at its end."""
        self._monotonic = monotonic
        self._breakers = {channel: CircuitBreaker(rest_seconds, monotonic) for channel in CHANNELS}
        # All of these begin anew with an answer on any channel.
        self._opened_in_vain: Counter[Channel] = Counter()
        self._forbidden: set[str] = set()
        """Posts whose calls were forbidden by the HTTP status alone."""
        self._failing_since: float | None = None

    @property
    def times_opened(self) -> dict[Channel, int]:
        """How often each channel was sent to rest, for the summary."""
        return {name: breaker.times_opened for name, breaker in self._breakers.items() if breaker.times_opened}

    def __getitem__(self, channel: Channel) -> CircuitBreaker:
        return self._breakers[channel]

    def left(self, refused_by: Set[Channel]) -> list[Channel]:
        """The channels that have not refused the post yet."""
        return [channel for channel in self.order if channel not in refused_by]

    def pick(self, refused_by: Set[Channel], post: str) -> Channel | None:
        """The next channel for a post; None where it has to wait, as all that it has left are open."""
        return next((channel for channel in self.left(refused_by) if self._breakers[channel].admit(post)), None)

    def wait_seconds(self, refused_by: Set[Channel]) -> float:
        """How long a post waits before it asks for a channel again: a second at most, for a probe may be answered."""
        waits = [self._breakers[channel].seconds_open for channel in self.left(refused_by)]
        return min([self._rest_seconds / 60, *(wait for wait in waits if wait)])

    def are_dead(self, refused_by: Set[Channel]) -> bool:
        """Whether all that a post has left answer no probe any more."""
        return all(self._breakers[channel].is_dead for channel in self.left(refused_by))

    def leave(self, refused_by: Set[Channel]) -> None:
        """A post stays pending; where that is so because its channels are dead, `unserved` says which."""
        if self.are_dead(refused_by):
            self.unserved = self.unserved or ChannelsSilent(" and ".join(self.left(refused_by)))

    def answered(self, channel: Channel) -> None:
        """The channel answered, be it with a refusal."""
        self._breakers[channel].answered()
        self._opened_in_vain.clear()
        self._forbidden.clear()
        self._failing_since = None

    def failed(self, channel: Channel, post: str, *, final: bool = False) -> bool:
        """A call failed by the channel's fault; True if that sends it to rest. `final`: the post is given up by it.

        Where every channel rests, and one is tried in vain after each of `MAX_FAILED_PROBES` rests, the service is
        `silent`.
        """
        now = self._monotonic()
        self._failing_since = now if self._failing_since is None else self._failing_since
        breaker = self._breakers[channel]
        closed = [each for each in self.order if self._breakers[each].state == "closed"]
        if breaker.is_probe(post) and not closed and self._opened_in_vain[channel] >= MAX_FAILED_PROBES:
            self.silent = self.silent or ServiceSilent(now - self._failing_since)
            return False
        if not breaker.failed(post, others_closed=bool(set(closed) - {channel}), final=final):
            return False
        self._opened_in_vain[channel] += 1
        return True

    def forbidden(self, post: str, error: TagtrailError) -> None:
        """A call was forbidden, perhaps whatever its post: so many of different posts, and the service is `silent`."""
        self._forbidden.add(post)
        if len(self._forbidden) >= MAX_FAILURES:
            self.silent = self.silent or Barred(len(self._forbidden), str(error))
