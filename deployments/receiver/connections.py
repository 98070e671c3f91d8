"""The receiver's connections: few at a time, each with a request within seconds, and cheap where they only cost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from deployments.receiver.app import BUSY, HEALTH, Receiver
from deployments.receiver.pace import Pace
from deployments.receiver.refusals import Refusals

REQUEST_SECONDS = 10.0
"""A connection that has no whole request for so long is closed."""

MOST_CONNECTIONS = 400
"""The oldest gives way to a new one: those of good callbacks last for milliseconds."""

ACCEPTED_AT_ONCE, BACKLOG = 64, 2_048
"""Connections that are taken before those that are there already are served, and that the system keeps for us."""

SENT_AWAY = b"HTTP/1.1 %d \r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    BUSY[0], len(BUSY[1]), BUSY[1],
)  # fmt: skip
_BEGIN_BYTES = 2_048


class Connections:
    """The open connections, oldest first, and what to do where there are too many or one is too slow."""

    def __init__(self, receiver: Receiver, refusals: Refusals, pace: Pace) -> None:
        self._receiver, self._pace, self.refusals = receiver, pace, refusals
        self.open: dict[Protocol, None] = {}

    def admit(self, protocol: Protocol) -> None:
        self.open[protocol] = None
        if len(self.open) > MOST_CONNECTIONS:
            oldest = next(iter(self.open))
            del self.open[oldest]
            self.refusals.note("closed the oldest of too many connections")
            oldest.transport.abort()

    def sends_away(self, begin: bytes) -> bool:
        """Whether a request that begins so changes nothing, at a time when there is no place for such ones."""
        if not self._pace.is_full:
            return False
        parts = begin.split(b" ", 2)
        if len(parts) < 3 or parts[1] == HEALTH or self._receiver.is_ours(parts[1]):
            return False
        self.refusals.note("refused at once: too many requests that change nothing (503)")
        return True

    def abort(self) -> None:
        """Close all of them at once."""
        for protocol in list(self.open):
            protocol.transport.abort()


class Door(socket.socket):
    """A listening socket that sends whole floods away before anything is made of their connections.

    `sends_away` is asked about the beginning of what a connection has sent by the time it is accepted. The good
    callbacks stand in the same row as the flood: it has to be gone through faster than the flood can grow.
    """

    def __init__(self, listener: socket.socket, sends_away: Callable[[bytes], bool]) -> None:
        super().__init__(listener.family, listener.type, listener.proto, fileno=listener.detach())
        self._sends_away = sends_away

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection that is not sent away; after a number of those that are, others have their turn."""
        for _ in range(ACCEPTED_AT_ONCE):
            connection, address = super().accept()
            if not self._is_sent_away(connection):
                return connection, address
        raise BlockingIOError

    def _is_sent_away(self, connection: socket.socket) -> bool:
        try:
            begin = connection.recv(_BEGIN_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            # Nothing has come yet, or the connection is broken: the server finds out by itself.
            return False
        if not self._sends_away(begin):
            return False
        with connection, contextlib.suppress(OSError):
            # Read first: to close upon unread bytes would take the answer back.
            connection.recv(_BEGIN_BYTES, socket.MSG_DONTWAIT)
            connection.send(SENT_AWAY, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return True


class Protocol(H11Protocol):
    """HTTP over h11 on connections that are few, and have a request within seconds."""

    admitted: Connections
    _deadline: asyncio.TimerHandle | None = None
    _between_requests = True

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # Also where somebody configures logging: a line of the access log would hold the path, and so the secret.
        self.access_log = False
        self._wait_for_a_request()
        self.admitted.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.admitted.open.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._between_requests and self.admitted.sends_away(data):
            # Before anything is parsed: this is what a flood may cost.
            self.transport.write(SENT_AWAY)
            self.transport.close()
            return
        self._between_requests = False
        super().data_received(data)

    def on_response_complete(self) -> None:
        self._between_requests = True
        self._wait_for_a_request()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self.admitted.refusals.note("refused: not HTTP (400)")
        super().send_400_response(msg)

    def _wait_for_a_request(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._too_slow)

    def _too_slow(self) -> None:
        self.admitted.refusals.note("closed a connection without a request")
        self.transport.abort()
