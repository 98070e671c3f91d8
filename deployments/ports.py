"""Ports of 127.0.0.1 for the servers that Tagtrail starts."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Final

from blocks.errors import TagtrailError, UsageError

HOST: Final = "127.0.0.1"


def checked(port: int | None, *, option: str, least: int = 1) -> None:
    """Refuse what is no port; None, where nothing was asked for, is none to refuse.

    `least`: 0 where that stands for any port that is free.

    Raises:
        UsageError: it is out of range; the message names the option.
    """
    if port is not None and not least <= port <= 65_535:
        raise UsageError(f"{option} is {least} to 65535, not {port}")


def choose(asked: int | None, *, option: str, preferred: int = 0) -> int:
    """The port that was asked for with `option`; else the preferred one if it is free, else any.

    Raises:
        UsageError: what was asked for is no port, or in use.
        TagtrailError: no port at all is free.
    """
    checked(asked, option=option)
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
