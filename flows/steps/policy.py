"""What is done about each class of error: how often a metadata call is made again, and what ends it."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.memories.errors import (
    Busy,
    MemoriesError,
    NoAnswer,
    NotSent,
    Refused,
    ServerFault,
    TagtrailError,
    TooManyRequests,
    Transient,
    Unreadable,
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often one post's call may end in one class of error before the channel is given up.

    `calls` counts them all, the first one included; `blames_channel`: so many in a row make the channel
    rest; `maybe_billed`: the call counts as possible spend, for nobody knows what they did.
    """

    calls: int
    blames_channel: bool
    maybe_billed: bool


PATIENCE: dict[type[MemoriesError], Patience] = {
    Busy: Patience(calls=6, blames_channel=True, maybe_billed=False),
    TooManyRequests: Patience(calls=10, blames_channel=False, maybe_billed=False),
    Transient: Patience(calls=4, blames_channel=True, maybe_billed=False),
    NotSent: Patience(calls=5, blames_channel=True, maybe_billed=False),
    ServerFault: Patience(calls=4, blames_channel=True, maybe_billed=True),
    # A lost or unreadable answer may have been billed: made again at most twice, both counted together.
    NoAnswer: Patience(calls=3, blames_channel=True, maybe_billed=True),
    Unreadable: Patience(calls=3, blames_channel=True, maybe_billed=True),
}
AT_ONCE = Patience(calls=1, blames_channel=False, maybe_billed=False)

MAX_RETRIES = 60
"""Tries of one enrich task after the first: more than the patience above allows a post over three channels, also if
its calls fail in another way each time."""

MOST_DELAYS = 50
"""Prefect takes so many waits; the last one holds for the tries after it."""


def retry_delays_seconds(first_seconds: float) -> list[float]:
    """Waits between the tries of one enrich task: doubling, up to 32 times the first."""
    return [first_seconds * min(2**at, 32) for at in range(MOST_DELAYS)]


REST_AFTER_FAULTS = 5
"""So many blamed calls in a row make a channel rest."""

REST_SECONDS = 60.0


def patience_with(error: TagtrailError) -> Patience:
    """The patience for an error's class; errors that are not listed are final at once."""
    return PATIENCE.get(type(error), AT_ONCE) if isinstance(error, MemoriesError) else AT_ONCE


def counted_as(error: TagtrailError) -> str:
    """The name under which a post's failed calls are counted; lost and unreadable answers are one kind."""
    return "lost" if isinstance(error, NoAnswer | Unreadable) else error.error_class


def says_channel_cannot(error: TagtrailError) -> bool:
    """Whether another channel may serve the post where this one could not (never after a halt)."""
    return isinstance(error, MemoriesError) and not error.halts


def surely_unbilled(error: TagtrailError) -> bool:
    """Whether nothing can have been started by the failed call."""
    return isinstance(error, Refused | NotSent)
