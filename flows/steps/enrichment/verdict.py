"""What one failed metadata call means for its post.

`verdict` is the only place that decides it. It is pure: it is given the error, what is behind the post, and how the
service looks. Its table of cases is `tests/flows/steps/enrichment/test_verdict.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from blocks.errors import (
    Busy,
    MemoriesError,
    NoAnswer,
    NotSent,
    PermissionDenied,
    Refused,
    ServerFault,
    TagtrailError,
    TooManyRequests,
    Transient,
    Unreadable,
)


class Verdict(Enum):
    """What is done next for a post whose call failed."""

    RETRY = auto()
    """Ask the same channel again, in the task's next try."""
    RETRY_AT_ONCE = auto()
    """Ask again in this try: the rate limiter makes everybody wait."""
    NEXT_CHANNEL = auto()
    """This channel cannot serve the post: ask the next one."""
    GIVE_UP = auto()
    """The post ends failed, with a reason."""
    HALT = auto()
    """The run buys nothing more; the post stays pending."""
    HOLD = auto()
    """The failure says nothing of the post: it stays pending, for another run."""


Blamed = Literal["post", "channel", "everybody"]


@dataclass(frozen=True, slots=True)
class RetryLimit:
    """How many calls of one post on one channel may fail in one way, the first one included, and whose fault it is.

    `blames` the post: the channel answered. The channel: its circuit breaker counts the failure. Everybody: perhaps
    nobody is let through, whatever the post and the channel.
    """

    calls: int
    blames: Blamed


RETRY_LIMITS: dict[type[MemoriesError], RetryLimit] = {
    TooManyRequests: RetryLimit(10, "post"),
    Busy: RetryLimit(6, "channel"),
    NotSent: RetryLimit(5, "channel"),
    Transient: RetryLimit(4, "channel"),
    ServerFault: RetryLimit(4, "channel"),
    # Each lost or unreadable answer may have been billed. Both are counted together.
    NoAnswer: RetryLimit(3, "channel"),
    Unreadable: RetryLimit(3, "channel"),
}
FORBIDDEN_BY_STATUS = RetryLimit(2, "everybody")
"""HTTP 403 without a business code, as of a gateway: other posts are asked for before one fails by it."""
FINAL = RetryLimit(1, "post")
"""All other errors: the same call would fail again."""

MAX_LOST_ANSWERS = RETRY_LIMITS[NoAnswer].calls
"""After so many lost or unreadable answers, on all channels and in all runs together, a post is given up."""


@dataclass(frozen=True, slots=True)
class History:
    """What is behind a post. Calls that failed in the same way are counted, this one included."""

    on_channel: int
    """Failed calls on this channel. The probe of a half-open circuit breaker does not count."""
    ever: int
    """Failed calls on all channels and in all runs, since the post was last asked for anew."""
    channels: int
    """How many channels the run has."""
    channels_left: int
    """How many of them the post can go on to."""


@dataclass(frozen=True, slots=True)
class Service:
    """How the service looks when the call has failed."""

    on_trial: bool = False
    """It refused the account lately, and this run's first call is to show whether it still does."""
    silent: bool = False
    """No channel answers any more."""
    channels_dead: bool = False
    """The channels that may serve this post answer no probe any more; others may answer."""


def verdict(error: TagtrailError, history: History, service: Service) -> Verdict:
    """What to do next for a post whose call ended in this error."""
    if error.halts:
        return Verdict.HALT
    limit = retry_limit(error)
    if service.on_trial and limit.blames != "post":
        return Verdict.HALT
    if is_used_up(error, history):
        return Verdict.GIVE_UP
    if service.silent or service.channels_dead:
        return Verdict.HOLD
    if history.on_channel < limit.calls:
        return Verdict.RETRY_AT_ONCE if isinstance(error, TooManyRequests) else Verdict.RETRY
    return Verdict.NEXT_CHANNEL if history.channels_left else Verdict.GIVE_UP


def retry_limit(error: TagtrailError) -> RetryLimit:
    """How often a call that ends in this error is made."""
    if isinstance(error, PermissionDenied) and error.code is None:
        return FORBIDDEN_BY_STATUS
    return RETRY_LIMITS.get(type(error), FINAL) if isinstance(error, MemoriesError) else FINAL


def kind_of(error: TagtrailError) -> str:
    """The name under which failed calls are counted; lost and unreadable answers are one kind."""
    return "lost" if isinstance(error, NoAnswer | Unreadable) else error.error_class


def counts_over_runs(error: TagtrailError) -> bool:
    """Whether a failure counts in later runs too, so that a post comes to its end even if each run is halted.

    Not where nothing left this machine: that says nothing of any post.
    """
    return retry_limit(error).blames == "channel" and not isinstance(error, NotSent)


def is_used_up(error: TagtrailError, history: History) -> bool:
    """Whether the post failed so often, over all channels and runs, that it is given up whatever the service does."""
    if not counts_over_runs(error):
        return False
    most = MAX_LOST_ANSWERS if kind_of(error) == "lost" else retry_limit(error).calls * history.channels
    return history.ever >= most


def is_unbilled(error: TagtrailError) -> bool:
    """Whether the failed call costs nothing for sure."""
    return isinstance(error, Refused | NotSent)


MAX_RETRIES = 60
"""Tries of one enrich task after the first: more than the limits above allow a post over three channels, also if its
calls fail in another way each time."""

DOUBLINGS = 5
"""The waits double so often; Prefect holds the last one for the tries after it, and sends all of them along with each
event of a task run (50 waits cost server and client half a second of CPU per 1,000 task runs)."""


def retry_delays_seconds(first_seconds: float) -> list[float]:
    """Waits between the tries of one enrich task: doubling, up to 32 times the first."""
    return [first_seconds * 2**at for at in range(DOUBLINGS + 1)]
