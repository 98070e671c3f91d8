"""The sandbox's own time, which may run faster than the real one and can be moved forward."""

from __future__ import annotations

import time
from collections.abc import Callable


class VirtualClock:
    """Virtual seconds since the start: real ones times `time_scale`, plus every jump.

    Times that a client sees (when a post was written) are real ones and never lie in the future, however fast
    the virtual time runs.
    """

    def __init__(
        self,
        time_scale: float = 1.0,
        *,
        started_at: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not time_scale > 0:
            raise ValueError(f"the time scale must be above 0, not {time_scale:g}")
        self.time_scale = time_scale
        self._monotonic = monotonic
        self._zero = monotonic()
        self.started_at = time.time() if started_at is None else started_at
        # (real seconds since the start, virtual seconds there): time is straight between two such points.
        self._points: list[tuple[float, float]] = [(0.0, 0.0)]

    def real(self) -> float:
        """Real seconds since the start."""
        return self._monotonic() - self._zero

    def wall(self) -> float:
        """The real time of day as a Unix time in seconds."""
        return self.started_at + self.real()

    def now(self) -> float:
        """Virtual seconds since the start."""
        real_at, virtual_at = self._points[-1]
        return virtual_at + (self.real() - real_at) * self.time_scale

    def restart(self) -> None:
        """Begin anew: the start is now."""
        self.started_at = self.wall()
        self._zero = self._monotonic()
        self._points = [(0.0, 0.0)]

    def advance(self, seconds: float) -> None:
        """Move the virtual time forward by `seconds` virtual seconds."""
        if seconds < 0:
            raise ValueError("time only moves forward")
        virtual = self.now()
        self._points.append((self.real(), virtual + seconds))

    def seen_at(self, virtual: float) -> int:
        """The Unix time (seconds) that a client is told for the virtual moment `virtual`."""
        if virtual <= 0:
            return int(self.started_at + virtual)
        real = 0.0
        for number, (real_at, virtual_at) in enumerate(self._points):
            if virtual < virtual_at:
                break
            real = real_at + (virtual - virtual_at) / self.time_scale
            if number + 1 < len(self._points):
                real = min(real, self._points[number + 1][0])
        return int(self.started_at + real)
