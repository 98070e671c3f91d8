"""The parts of the stack that are child processes: each with its log, started again when it dies."""

from __future__ import annotations

import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deployments.local_server import LOG_BYTES

RESTARTS: Final = 3
WITHIN_SECONDS: Final = 60.0
"""A part that dies more often than RESTARTS in this time is given up, and the stack with it."""


@dataclass(slots=True)
class Part:
    """One child process: what it is for the user, how it is started, and where it writes."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=deque)

    def start(self) -> None:
        """Begin, in a session of its own: what the terminal sends reaches the stack first, which ends it in order."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self.environment),
                cwd=self.folder,
                start_new_session=True,
            )

    @property
    def ended(self) -> int | None:
        """Its exit status, once it has ended."""
        return None if self.process is None else self.process.poll()

    def may_start_again(self) -> bool:
        """Whether it has not died too often of late; this death is counted."""
        now = time.monotonic()
        self.deaths.append(now)
        while self.deaths[0] < now - WITHIN_SECONDS:
            self.deaths.popleft()
        return len(self.deaths) <= RESTARTS

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else "it said nothing"
