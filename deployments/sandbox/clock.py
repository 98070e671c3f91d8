"""The sandbox's own time, which may run faster than the real one and can be moved forward."""

from __future__ import annotations

import time
from collections import deque
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


IMPORT_SECONDS = 60.0
STATUS_SECONDS = 1.0
RAPID_YOUTUBE_PER_HOUR = 12

# A sender that keeps exactly to a limit is not refused because its packets came a little unevenly.
_SLACK_SHARE = 0.1
_SLACK_REAL_SECONDS = 0.02


class Limits:
    """Sliding windows per key and kind of call; refused calls do not count."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, str], deque[float]] = {}

    def allows(self, key: str, kind: str, count: float, seconds: float) -> bool:
        """Whether one more call of `kind` fits into `count` in `seconds` virtual seconds; if so it is counted."""
        if count < 1:
            count, seconds = 1.0, seconds / count
        slack = min(seconds / 2, max(seconds * _SLACK_SHARE, _SLACK_REAL_SECONDS * self._clock.time_scale))
        now = self._clock.now()
        window = self._windows.setdefault((key, kind), deque())
        while window and window[0] <= now - (seconds - slack):
            window.popleft()
        if len(window) >= int(count):
            return False
        window.append(now)
        return True

    def forget(self) -> None:
        self._windows.clear()


def metadata_limit(platform: str, channel: str, per_second: float) -> tuple[str, float, float]:
    """Name, count and virtual seconds of the limit that a metadata call falls under."""
    if channel == "rapid" and platform == "youtube":
        return "metadata/rapid/youtube", float(RAPID_YOUTUBE_PER_HOUR), 3600.0
    return f"metadata/{channel}", per_second, 1.0
