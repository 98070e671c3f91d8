"""The account's limits as the contract lists them, counted in virtual time."""

from __future__ import annotations

from collections import deque

from deployments.sandbox.clock import VirtualClock

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
