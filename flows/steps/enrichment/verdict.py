"""What is done about each class of error: how often a metadata call is made again, and what ends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blocks.errors import (
    Busy,
    Duplicate,
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
from blocks.memories.error_codes import contradicts_itself


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
MOST_UNSEEN = PATIENCE[NoAnswer].calls
"""So many lost or unreadable answers, on all channels and in all runs together, and a post is given up: each may have
been billed."""

AT_ONCE = Patience(calls=1, blames_channel=False, maybe_billed=False)

FORBIDDEN = Patience(calls=2, blames_channel=False, maybe_billed=False)
"""Where nobody is let through, others are asked before a post fails by it (see `bars_everybody`)."""

MAX_RETRIES = 60
"""Tries of one enrich task after the first: more than the patience above allows a post over three channels, also if
its calls fail in another way each time."""

DOUBLINGS = 5
"""The waits double so often; Prefect holds the last one for the tries after it, and sends all of them along with each
event of a task run (50 waits cost server and client half a second of CPU per 1,000 task runs)."""


def retry_delays_seconds(first_seconds: float) -> list[float]:
    """Waits between the tries of one enrich task: doubling, up to 32 times the first."""
    return [first_seconds * 2**at for at in range(DOUBLINGS + 1)]


REST_AFTER_FAULTS = 5
"""So many blamed calls in a row make a channel rest."""

MOST_OF_ITS_OWN = 4 * REST_AFTER_FAULTS
"""So many in a row also make the last channel rest where they are of posts that failed before, beside others served."""

REST_SECONDS = 60.0

RESTS_IN_VAIN = 3
"""So many rests of a channel without an answer on any end the waiting."""


def patience_with(error: TagtrailError) -> Patience:
    """The patience for an error's class; errors that are not listed are final at once."""
    if bars_everybody(error):
        return FORBIDDEN
    return PATIENCE.get(type(error), AT_ONCE) if isinstance(error, MemoriesError) else AT_ONCE


def counted_as(error: TagtrailError) -> str:
    """The name under which a post's failed calls are counted; lost and unreadable answers are one kind."""
    return "lost" if isinstance(error, NoAnswer | Unreadable) else error.error_class


def counts_over_runs(error: TagtrailError) -> bool:
    """Whether a post whose calls go on ending so is given up in the end, however many runs were halted meanwhile.

    Not where nothing left this machine: that says nothing of any post.
    """
    return patience_with(error).blames_channel and not isinstance(error, NotSent)


def used_up(error: TagtrailError, ever: Mapping[str, int], channels: int) -> bool:
    """Whether a post's patience is used up over all runs and so many channels; `ever` counts this call too."""
    if not counts_over_runs(error):
        return False
    kind = counted_as(error)
    most = MOST_UNSEEN if kind == "lost" else patience_with(error).calls * channels
    return ever.get(kind, 0) >= most


def bars_everybody(error: TagtrailError) -> bool:
    """Whether it may be no word about the post: 403 by the status alone, as of a gateway that lets nobody through."""
    return isinstance(error, PermissionDenied) and error.code is None


def says_channel_cannot(error: TagtrailError) -> bool:
    """Whether another channel may serve the post where this one could not (never after a halt)."""
    return isinstance(error, MemoriesError) and not error.halts


def surely_unbilled(error: TagtrailError) -> bool:
    """Whether a metadata call that failed counts as not billed."""
    return isinstance(error, Refused | NotSent)


def surely_not_begun(error: TagtrailError) -> bool:
    """Whether a submission that failed can have begun no import, so that it may be sent again.

    "Network abnormal", and a code of success beside `success: false`, say neither yes nor no: a second bill is worse
    than a question. Nor does "repeated operation": an earlier submission may run.
    """
    if isinstance(error, Transient | Duplicate):
        return False
    return isinstance(error, NotSent) or (isinstance(error, Refused) and not contradicts_itself(error))
