"""Processes of this machine: a name that tells one from every other, and whether it still lives."""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path

import psutil

Alive = Callable[[str], bool | None]
"""Whether a holder of leases lives: True, False, or None where nobody here can know."""


def name_holder() -> str:
    """A new name for a holder of leases in this process: `HOST/PLACE/PID/START/ID`.

    HOST is for people. PLACE is a hash that is equal only where process numbers mean the same processes (machine,
    boot, and container), START tells a process from a later one of the same number, ID one run of a process from
    another.
    """
    host = socket.gethostname().partition(".")[0].replace("/", "-")[:30]
    pid = os.getpid()
    return f"{host}/{_place()}/{pid}/{start_time(pid)}/{uuid.uuid4().hex[:12]}"


def is_alive(holder: str) -> bool | None:
    """Whether the process of a holder lives; None if it is another machine's, container's, boot's or user's."""
    parts = holder.split("/")
    if len(parts) != 5 or not parts[1] or parts[1] != _place() or not parts[2].isdigit():
        return None
    pid = int(parts[2])
    try:
        os.kill(pid, 0)  # It asks only.
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return None  # Another user's: a machine may hide what else there is to know of it.
    return str(start_time(pid)) == parts[3]


def start_time(pid: int) -> float | None:
    """When that process began, in seconds after the machine's start; None if it is gone.

    With the id it names a process for good. No clock that is set changes it.
    """
    try:
        process = psutil.Process(pid)
        ended = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return None if ended else round(process.create_time() - psutil.boot_time(), 2)
    except psutil.Error:
        return None


@cache
def _place() -> str:
    """Equal for two processes only if they see the same process numbers; empty where that cannot be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Containers on one kernel share its boot id, but each has a process table of its own.
        boot += os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    # Earlier versions wrote START otherwise: with "seconds" neither judges the other's holders; their leases run out.
    return hashlib.sha256(f"{boot}\n{socket.gethostname()}\nseconds".encode()).hexdigest()[:16]
