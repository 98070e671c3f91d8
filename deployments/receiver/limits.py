"""All bounds of the receiver: how much it takes, how long it waits, and how much it keeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds that hold in production; tests take others."""

    max_connections: int = 400
    """The oldest gives way to a new one: those of good callbacks last for milliseconds."""

    max_head_bytes: int = 16_384

    body_seconds: float = 5.0
    """So long a body may take to arrive."""

    pause_of_refusals_seconds: float = 0.5
    """What changes nothing is answered after this: a flood waits, and the good callbacks do not."""

    max_refusals_a_second: int = 120
    """With more of these a request for another path is turned away as soon as its connection is taken."""

    answer_seconds: float = 0.06
    """An answer waits for the database no longer than this; the callback is then stored after it."""

    batch: int = 200
    """Callbacks in one transaction, at most."""

    max_waiting: int = 2_000
    """Callbacks that wait for the database at most; more are refused, for the sender (or the sweep) to come again."""

    max_unknown: int = 1_000
    unknown_seconds: float = 600.0
    """A callback about an unknown task is kept in memory so long: it may be quicker than the answer to the submission.

    At most 1,000 are; the oldest gives way. One that is lost by that, or by a restart, is covered by the sweep.
    """

    max_recent: int = 10_000
    """Callbacks that are known to be stored, without a look into the database."""

    look_seconds: float = 1.0
    """How often the writer looks whether an unknown task is known by now, and asks a database that is away again."""

    events: int = 100
    """Events in one call of the Prefect server."""

    pause_seconds: float = 0.2
    """Between two such calls: what comes meanwhile goes together, and a server's queues are not flooded."""

    call_seconds: float = 60.0
    """How long such a call may take."""

    idle_seconds: float = 30.0
    """How often the relay looks into the inbox by itself, for what an earlier receiver left."""

    backoff_seconds: tuple[float, float] = (1.0, 30.0)
    """A server that took no events is asked again after the first, then each time twice as long, up to the second."""


LINE_SECONDS = 10.0


@dataclass(slots=True)
class _Reason:
    last: float = float("-inf")
    unwritten: int = 0


class ThrottledLog:
    """Counts what was refused or went wrong, by reason; `say` is given whole lines.

    A reason is a sentence of the receiver's own: nothing of a request's path or headers is ever part of it. A line
    that cannot be written raises nothing, and is counted with the next one.
    """

    def __init__(self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._reasons: dict[str, _Reason] = {}

    def note(self, reason: str, example: str = "") -> None:
        """One more for this reason; `example` is shown with the first of a line."""
        known = self._reasons.setdefault(reason, _Reason())
        if self._clock() - known.last < LINE_SECONDS:
            known.unwritten += 1
            return
        self._write(reason, known, example)

    def flush(self) -> None:
        """Write what has been counted and not written, where its line is due."""
        for reason, known in self._reasons.items():
            if known.unwritten and self._clock() - known.last >= LINE_SECONDS:
                self._write(reason, known)

    def close(self) -> None:
        """Write all that has not been written."""
        for reason, known in self._reasons.items():
            if known.unwritten:
                self._write(reason, known)

    def _write(self, reason: str, known: _Reason, example: str = "") -> None:
        more = f" ({known.unwritten:,} more since the last line)" if known.unwritten else ""
        known.last = self._clock()
        try:
            self._say(f"{reason}{f': {example}' if example else ''}{more}")
        except (OSError, ValueError):
            # A full disk, or a log that is closed, is no reason to stop taking callbacks in.
            known.unwritten += 1
        else:
            known.unwritten = 0
