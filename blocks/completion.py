"""When an import is finished, and when to ask for it again: three clocks, as plain functions of written facts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

QUIET_POLLS = 3
"""At least so many answered polls in a row have to bring nothing new before an import counts as quiet."""

LONGEST_WAIT_SECONDS = 30.0
"""Waits between polls grow up to this (or to the first interval, if that is longer)."""

GROWTH = 1.5


SAID_QUIET_POLLS = 2
"""After a callback said that an import ended: so many answered polls in a row, asked after it, without news."""

SAID_QUIET_SHARE = 0.25
"""After such a callback the quiet time is this part of the usual one; see `finished_state`."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a callback said of an import, when (the database's clock), and how many answered polls in a row, asked
    after it, have brought nothing new."""

    succeeded: bool
    at: datetime
    quiet_polls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """What the ledger knows of an import's progress; times are aware, counts are posts or answered polls.

    `since` is when it was submitted, or when a new look at an empty one began; `without_url` counts the listed
    items whose URL has not come yet; `quiet_polls` the answered polls in a row that brought nothing new.
    """

    since: datetime
    requested: int
    seen: int = 0
    without_url: int = 0
    quiet_polls: int = 0
    first_item_at: datetime | None = None
    last_new_at: datetime | None = None
    last_polled_at: datetime | None = None

    def deadline(self, deadline_seconds: float) -> datetime:
        """When the import is given up, whatever it has brought."""
        return self.since + timedelta(seconds=deadline_seconds)


def finished_state(
    clocks: Clocks, now: datetime, *, quiet_seconds: float, deadline_seconds: float, said: Said | None = None
) -> Literal["complete", "empty"] | None:
    """Whether an import is finished, to be asked after each answered poll; None: poll again.

    `complete`: everything that was asked for is listed with its URL, or nothing new came for `quiet_seconds` after
    the first item, or the deadline passed with items. `empty`: nothing was listed so far, which says nothing about
    later. Only answered polls count: a time in which the API did not answer is no quiet time, and
    before the deadline can end an import a poll has to be answered after it. So while no answer comes the result is
    None; see `overdue`.

    What a callback `said` is a hint and makes waits shorter, never an end by itself. With items, a quarter of the
    quiet time and two answered polls without news are enough. Without any, success changes nothing (it is not known
    what the service calls so); after a failure the deadline is not waited for: it is `empty`, and looked at again
    later, after the quiet time in which at least three answered polls, asked after the callback, listed nothing.
    """
    polled_at = clocks.last_polled_at
    if polled_at is None or polled_at < clocks.since:
        return None
    if clocks.seen >= clocks.requested and clocks.seen > 0 and clocks.without_url == 0:
        return "complete"
    if clocks.seen > 0:
        quiet_for = polled_at - (clocks.last_new_at or clocks.first_item_at or clocks.since)
        if quiet_for >= timedelta(seconds=quiet_seconds) and clocks.quiet_polls >= QUIET_POLLS:
            return "complete"
        short = timedelta(seconds=quiet_seconds * SAID_QUIET_SHARE)
        if said is not None and quiet_for >= short and said.quiet_polls >= SAID_QUIET_POLLS:
            return "complete"
    elif said is not None and not said.succeeded and _silent(said, clocks.since, polled_at, quiet_seconds):
        return "empty"
    if min(now, polled_at) >= clocks.deadline(deadline_seconds):
        return "complete" if clocks.seen > 0 else "empty"
    return None


def _silent(said: Said, since: datetime, polled_at: datetime, quiet_seconds: float) -> bool:
    """Whether nothing came for long enough after a callback, or after this look began, if that was later."""
    silent_for = polled_at - max(said.at, since)
    return said.quiet_polls >= QUIET_POLLS and silent_for >= timedelta(seconds=quiet_seconds)


def overdue(clocks: Clocks, now: datetime, *, deadline_seconds: float) -> bool:
    """Whether the deadline has passed, answered polls or not; then a poller without answers leaves it to others."""
    return now >= clocks.deadline(deadline_seconds)


def next_poll_seconds(quiet_polls: int, first_seconds: float, *, jitter: float) -> float:
    """How long to wait before the next poll, in seconds.

    `quiet_polls` are the polls in a row that brought nothing new (0: the first interval again); each makes the wait
    half as long again, up to 30 s. `jitter` (0 to 1, at random) takes up to a fifth off, so that many pollers
    spread out.
    """
    longest = max(first_seconds, LONGEST_WAIT_SECONDS)
    # Powers beyond the cap are not needed, and would overflow in a long life.
    grown = first_seconds * GROWTH ** min(quiet_polls, 60)
    return min(grown, longest) * (1 - 0.2 * jitter)


CallbackKind = Literal["succeeded", "failed", "indexed", "other"]


@dataclass(frozen=True, slots=True)
class Callback:
    """One piece of news about a task: `status` in capitals, a code as SUCCEEDED or FAILED; `event_id` tells the same
    news again, whichever generation of callbacks it comes in."""

    event_id: str
    task_id: str
    status: str
    video_no: str | None = None
    message: str | None = None

    @property
    def kind(self) -> CallbackKind:
        """What it says; `other` where nobody knows such a status, or a single video is concerned otherwise."""
        return kind_of(self.status, self.video_no)


def kind_of(status: str, video_no: str | None) -> CallbackKind:
    """What a status says: of the import, or of one video of it."""
    if video_no is not None:
        return "indexed" if status in ("INDEXING_SUCCEEDED", "SUCCEEDED", "PARSE") else "other"
    if status == "SUCCEEDED":
        return "succeeded"
    return "failed" if status == "FAILED" else "other"
