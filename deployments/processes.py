"""Processes that outlive a look at their number: which one it is, and whether it still lives."""

from __future__ import annotations

import subprocess
from pathlib import Path

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Processes that this one started, so that one that has ended is gone and no zombie."""


def remember(process: subprocess.Popen[bytes]) -> None:
    """Have `began` collect this child of ours once it has ended."""
    _children[process.pid] = process


def began(pid: int) -> str | None:
    """When that process began, in words that no other process with this number will have; None if it is gone."""
    if _reaped(pid):
        return None
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
        asked = subprocess.run(["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
        return asked.stdout.strip() or None
    if after_name[0] in "ZX":
        # It may have ended since it was looked at above; a process of ours must not stay a zombie.
        _reaped(pid)
        return None
    return f"{boot}/{after_name[19]}"


def _reaped(pid: int) -> bool:
    """Whether that is a child of ours that has ended; then the system forgets it."""
    child = _children.get(pid)
    if child is None or child.poll() is None:
        return False
    del _children[pid]
    return True
