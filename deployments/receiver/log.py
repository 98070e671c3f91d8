"""Log lines of the receiver: one for each reason in ten seconds, however many requests there were; never a secret."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

LINE_SECONDS = 10.0


@dataclass(slots=True)
class _Reason:
    last: float = float("-inf")
    untold: int = 0


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
            known.untold += 1
            return
        self._write(reason, known, example)

    def flush(self) -> None:
        """Tell what has been counted and not told, where its line is due."""
        for reason, known in self._reasons.items():
            if known.untold and self._clock() - known.last >= LINE_SECONDS:
                self._write(reason, known)

    def close(self) -> None:
        """Tell all that has not been told."""
        for reason, known in self._reasons.items():
            if known.untold:
                self._write(reason, known)

    def _write(self, reason: str, known: _Reason, example: str = "") -> None:
        more = f" ({known.untold:,} more since the last line)" if known.untold else ""
        known.last = self._clock()
        try:
            self._say(f"{reason}{f': {example}' if example else ''}{more}")
        except (OSError, ValueError):
            # A full disk, or a log that is closed, is no reason to stop taking callbacks in.
            known.untold += 1
        else:
            known.untold = 0
