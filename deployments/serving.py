"""What Tagtrail's own small HTTP servers share: how they listen, and how they end."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

import uvicorn

BACKLOG = 2_048
"""Connections that the system keeps for us until they are taken."""


class PortTaken(OSError):
    """The port is in use; the message says what to do."""


class QuietServer(uvicorn.Server):
    """A server that ends on SIGINT and SIGTERM, and does not raise the signal that it obeyed once more."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As the base's, but quiet at the end; in a thread that is not the main one there is nothing to capture."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            self.should_exit = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address of this machine; port 0 takes a free one. What comes early is kept.

    Raises:
        PortTaken: somebody else has the port.
        OSError: this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off; without it every answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortTaken(errno.EADDRINUSE, f"port {port} of {host} is in use; choose another with --port") from None
    return listener
