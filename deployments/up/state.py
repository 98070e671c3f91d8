"""What is known of the stack that runs in a home: one at a time, and where its parts are."""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deployments.processes import began


@dataclass(frozen=True, slots=True)
class Running:
    """A stack that runs: the process of `tagtrail up`, and what it told when it was ready."""

    pid: int
    started: str
    server_is_ours: bool
    """It started the Prefect server, and so ends it."""
    server_pid: int = 0
    sandbox: bool = False
    ready: bool = False
    lines: tuple[str, ...] = ()
    """The addresses, as they were printed."""


class AlreadyUp(Exception):
    """Another `tagtrail up` has this home."""


def folder(home: Path) -> Path:
    """Where the stack keeps what it knows."""
    return home / "up"


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Have the home for oneself; the lock goes with its holder, however that dies.

    Raises:
        AlreadyUp: another process has it.
    """
    folder(home).mkdir(exist_ok=True, mode=0o700)
    with (folder(home) / "lock").open("w") as lock:
        for left in reversed(range(5)):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    raise AlreadyUp from None
                # One that is just ending holds it for a moment.
                time.sleep(0.1)
        yield


def write(home: Path, running: Running) -> None:
    """Note down what runs; replaced as a whole."""
    path = _file(home)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(running), indent=1), encoding="utf-8")
    temporary.replace(path)


def read(home: Path) -> Running | None:
    """What the last `up` of this home noted down, whether it lives or not; None where there is nothing to read."""
    try:
        found: dict[str, Any] = json.loads(_file(home).read_text(encoding="utf-8"))
        return Running(**{**found, "lines": tuple(found["lines"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget(home: Path) -> None:
    """Nothing runs any more."""
    _file(home).unlink(missing_ok=True)


def alive(running: Running) -> bool:
    """Whether its process is still that process."""
    return began(running.pid) == running.started


def _file(home: Path) -> Path:
    return home / "up.json"
