"""What is known of a process in the background: one JSON file each, and one lock for who may start or end it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.stack.process import start_time


@dataclass(frozen=True, slots=True)
class StateFile:
    """A file with `pid`, `started` (see `start_time`) and whatever else is to be known of that process."""

    path: Path

    def read(self) -> dict[str, Any]:
        """What was noted down last, whether the process lives or not; empty where there is nothing to read."""
        try:
            state = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def write(self, **facts: Any) -> None:
        """Note down what is known of the process; the file is replaced as a whole."""
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(facts, indent=1), encoding="utf-8")
        temporary.replace(self.path)

    def remove(self) -> None:
        """The process is over."""
        self.path.unlink(missing_ok=True)


def is_alive(state: dict[str, Any]) -> bool:
    """Whether the process of a state still is that process."""
    pid, started = state.get("pid"), _seconds(state.get("started"))
    return isinstance(pid, int) and started is not None and start_time(pid) == started


def _seconds(started: Any) -> float | None:
    if isinstance(started, str):
        # Version 0.2.0 wrote `boot/ticks`; a server that it started may still run.
        ticks = started.rpartition("/")[2]
        return round(int(ticks) / os.sysconf("SC_CLK_TCK"), 2) if ticks.isdigit() else None
    return started if isinstance(started, int | float) else None


@contextlib.contextmanager
def locked(path: Path, *, seconds: float, error: Exception) -> Iterator[None]:
    """Hold the lock in this file; it goes with its holder, however that dies.

    `error` is raised where another process has had it for so long.
    """
    with path.open("w") as file:
        give_up_at = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up_at:
                    raise error from None
                time.sleep(0.1)
        yield
