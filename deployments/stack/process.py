"""Processes that Tagtrail starts: their ports and logs, what is known of them (one JSON file each), and their end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from blocks import processes
from blocks.errors import TagtrailError, UsageError

STACK: Final = "TAGTRAIL_STACK"
"""Variable that each process of a stack has, and hands on to those that it starts; its value is the home."""

LOG_BYTES: Final = 5_000_000
"""A log longer than this is put aside (one generation) at the next start."""

RESTARTS: Final = 3
WITHIN_SECONDS: Final = 60.0
"""A process that dies more often than RESTARTS in this time is given up."""

GENTLE_SECONDS: Final = 15.0
"""How long a process may take to end when asked; a run stores what it has bought, and gives its leases back."""
FIRM_SECONDS: Final = 10.0

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Processes that this one started: one that has ended must be waited for, or it stays a zombie."""


@dataclass(slots=True)
class ManagedProcess:
    """One process in the background; `name` is what users call it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    folder: Path
    """Where it runs: no file of the user's folder (.env, prefect.toml) has a say."""
    umask: int = -1
    pid: int = 0
    _log_from: int = 0
    _deaths: deque[float] = field(default_factory=deque)

    def start(self) -> None:
        """Begin, in a session of its own: what the terminal sends reaches its starter alone."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as output:
            self._log_from = output.tell()
            child = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self.environment),
                cwd=self.folder,
                umask=self.umask,
                start_new_session=True,
            )
        self.pid = child.pid
        _children[child.pid] = child

    @property
    def exit_status(self) -> int | None:
        """Its exit status, once it has ended."""
        return _children[self.pid].poll()

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> bool:
        """Wait so long; False where it ended before it was ready, or is not ready yet."""
        return wait_until(ready, seconds, alive=lambda: self.exit_status is None)

    def listens_at(self, port: int) -> bool:
        """Whether it is this process that listens there."""
        with contextlib.suppress(psutil.Error):
            sockets = psutil.Process(self.pid).net_connections("tcp")
            return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in sockets)
        return False

    def may_start_again(self) -> bool:
        """Whether it has not died too often of late; this death is counted."""
        now = time.monotonic()
        self._deaths.append(now)
        while self._deaths[0] < now - WITHIN_SECONDS:
            self._deaths.popleft()
        return len(self._deaths) <= RESTARTS

    def said(self) -> str:
        """What it has written to its log since its start."""
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            return log.read().decode("utf-8", "replace").strip()

    def last_line(self) -> str:
        """The last line of that."""
        return (self.said().splitlines() or ["it said nothing"])[-1]


def wait_until(ready: Callable[[], bool], seconds: float, *, alive: Callable[[], bool]) -> bool:
    """Wait so long; False where the process ended before it was ready, or is not ready yet."""
    give_up_at = time.monotonic() + seconds
    while not ready():
        if not alive() or time.monotonic() > give_up_at:
            return False
        time.sleep(0.1)
    return True


def start_time(pid: int) -> float | None:
    """When that process began (see `processes.start_time`); None if it is gone, a child of this one among it."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        return None
    return processes.start_time(pid)


def end_with_children(pid: int) -> None:
    """End a process and all that it started."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        family = {process, *process.children(recursive=True)}
        _end(lambda: {one for one in family if _lives(one)})


def of_stack(home: Path) -> dict[str, str]:
    """The variable of a home's stack, by whatever path the home is named."""
    return {STACK: str(home.resolve())}


def end_stack(home: Path, *, but: Collection[int] = ()) -> int:
    """End the stack's processes, whoever started or left them, without those of `but`; how many there were."""
    return _end(lambda: find_stack(home, but))


def counted(processes: int) -> str:
    """`1 process`, `2 processes`."""
    return f"{processes} process{'' if processes == 1 else 'es'}"


def find_stack(home: Path, but: Collection[int] = ()) -> set[psutil.Process]:
    """All processes of this home's stack that live, without those of `but`."""
    [(name, value)] = of_stack(home).items()
    found = set()
    for process in psutil.process_iter():
        # Those of other users cannot be read, and are none of ours.
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(name) == value and _lives(process):
                found.add(process)
    return {process for process in found if process.pid not in but and process.pid != os.getpid()}


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and start_time(process.pid) is not None


def _end(find_living: Callable[[], set[psutil.Process]]) -> int:
    """Ask all to end, then kill what is left; one that is ending may start another, so they are looked for again."""
    found: set[psutil.Process] = set()
    for signal_to, seconds in ((psutil.Process.terminate, GENTLE_SECONDS), (psutil.Process.kill, FIRM_SECONDS)):
        asked: set[psutil.Process] = set()
        give_up_at = time.monotonic() + seconds
        while time.monotonic() < give_up_at:
            living = find_living()
            found |= living
            if not living:
                return len(found)
            for process in living - asked:
                with contextlib.suppress(psutil.Error):
                    signal_to(process)
            asked |= living
            time.sleep(0.1)
    return len(found)


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


HOST: Final = "127.0.0.1"
"""Where the servers listen that Tagtrail starts."""


def check_port(port: int | None, *, option: str, least: int = 1) -> None:
    """Refuse what is no port; None, where nothing was asked for, is none to refuse.

    `least`: 0 where that stands for any port that is free.

    Raises:
        UsageError: it is out of range; the message names the option.
    """
    if port is not None and not least <= port <= 65_535:
        raise UsageError(f"{option} is {least} to 65535, not {port}")


def choose_port(asked: int | None, *, option: str, preferred: int = 0) -> int:
    """The port that was asked for with `option`; else the preferred one if it is free, else any.

    Raises:
        UsageError: what was asked for is no port, or in use.
        TagtrailError: no port at all is free.
    """
    check_port(asked, option=option)
    # A process that was killed may hold its port for a moment longer than it is seen.
    for port in [asked] * 10 if asked is not None else (*[preferred] * 10, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As the server will: a connection that has just ended does not keep the port from us.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
        time.sleep(0.05)
    if asked is not None:
        raise UsageError(f"port {asked} of {HOST} is in use; choose another with {option}")
    raise TagtrailError(f"no port of {HOST} is free")
