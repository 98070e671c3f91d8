"""What tests of whole stacks wait for, and the ports that they take."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

READY_SECONDS = 300.0
"""Generous: machines are loaded. What is waited for ends the wait."""


def until(ready: Callable[[], Any], what: str, seconds: float = READY_SECONDS) -> Any:
    """What `ready` gives, once it is something."""
    give_up_at = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < give_up_at, f"waited in vain for {what}"
        time.sleep(0.2)
    return found


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has, all different."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return found
