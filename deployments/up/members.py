"""The processes of a home's stack, found by a mark in their environment: none gets lost, whoever started or left it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from deployments.processes import began

MARK: Final = "TAGTRAIL_STACK"
"""Variable that each process of a stack has, and hands on to those that it starts; its value is the home."""

GENTLE_SECONDS: Final = 15.0
"""How long a process may take to end when asked; a run stores what it has bought, and gives its leases back."""
FIRM_SECONDS: Final = 10.0


def mark(home: Path) -> dict[str, str]:
    """What each process of a home's stack has in its environment, by whatever path the home is named."""
    return {MARK: str(home.resolve())}


def living(home: Path, *, but: Collection[int] = ()) -> set[int]:
    """All processes of this home's stack that live, without those of `but`."""
    word = os.fsencode("=".join(*mark(home).items()))
    marked = _by_proc(word) if Path("/proc/self/environ").exists() else _by_ps(os.fsdecode(word))
    return {pid for pid in marked if pid not in but and pid != os.getpid() and began(pid) is not None}


def end(home: Path, *, but: Collection[int] = ()) -> int:
    """End the stack's processes, without those of `but`: first asked, then killed; how many there were."""
    known = living(home, but=but)
    found = set(known)
    for number, seconds in ((signal.SIGTERM, GENTLE_SECONDS), (signal.SIGKILL, FIRM_SECONDS)):
        _send(known, number)
        give_up_at = time.monotonic() + seconds
        while time.monotonic() < give_up_at:
            # One that is ending may have started another a moment ago.
            left = living(home, but=but)
            if not left:
                return len(found)
            _send(left - known, number)
            known = left
            found |= left
            time.sleep(0.1)
    return len(found)


def counted(processes: int) -> str:
    """`1 process`, `2 processes`."""
    return f"{processes} process{'' if processes == 1 else 'es'}"


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _by_proc(word: bytes) -> set[int]:
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            # Those of other users cannot be read, and are none of ours.
            with contextlib.suppress(OSError):
                if word in (folder / "environ").read_bytes().split(b"\0"):
                    found.add(int(folder.name))
    return found


def _by_ps(word: str) -> set[int]:
    # Without /proc; the environment stands behind the command, each variable after a space.
    listed = subprocess.run(["/bin/ps", "-axEww", "-o", "pid=,command="], capture_output=True, text=True)
    lines = (line.strip() for line in listed.stdout.splitlines())
    return {int(line.split()[0]) for line in lines if f" {word} " in f"{line} "}
