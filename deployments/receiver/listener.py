"""The receiver's listening socket: in a flood it turns away whoever asks for another path, before that costs time."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable
from typing import Any

BACKLOG = 2_048
"""Connections that the system keeps for us until they are taken."""

TAKEN_AT_ONCE = 64
"""Connections that are taken before those that are there already are served."""

BEGIN_BYTES = 2_048

DEFER_SECONDS = 10
"""A connection that has sent nothing for so long is let go."""

_BUSY = b'{"error":"too many requests that change nothing; come again later"}'
_HEAD = b"HTTP/1.1 503 \r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
TURNED_AWAY = _HEAD % len(_BUSY) + _BUSY


class Listener(socket.socket):
    """A listening socket whose `accept` answers 503 by itself where a request has begun for a path that is turned away.

    The good callbacks stand in the same row as a flood: it has to be gone through faster than the flood can grow. To
    serve a connection takes half a millisecond, to turn it away a tenth of that. Connections are few: the oldest gives
    way to a new one.
    """

    def __init__(self, listener: socket.socket, max_connections: int, turns_away: Callable[[bytes], bool]) -> None:
        super().__init__(listener.family, listener.type, listener.proto, fileno=listener.detach())
        if sys.platform == "linux":
            # A connection is only taken once it has sent something, which `accept` then sees.
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_SECONDS)
        self._max_connections, self._turns_away = max_connections, turns_away
        self._taken: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection to serve; after a number of those that are turned away, others have their turn."""
        for _ in range(TAKEN_AT_ONCE):
            connection, address = super().accept()
            if not self._is_turned_away(connection):
                self._make_room()
                self._taken.append(connection)
                return connection, address
        raise BlockingIOError

    def _make_room(self) -> None:
        """Let the oldest connection end where there are too many."""
        if len(self._taken) < self._max_connections:
            return
        self._taken = [one for one in self._taken if one.fileno() >= 0]
        if len(self._taken) >= self._max_connections:
            with contextlib.suppress(OSError):
                self._taken.pop(0).shutdown(socket.SHUT_RDWR)

    def _is_turned_away(self, connection: socket.socket) -> bool:
        try:
            begin = connection.recv(BEGIN_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            # Nothing has come yet, or the connection is broken: the server finds out by itself.
            return False
        parts = begin.split(b" ", 2)
        if len(parts) < 3 or not self._turns_away(parts[1]):
            return False
        with connection, contextlib.suppress(OSError):
            # Read first: to close upon unread bytes would take the answer back.
            connection.recv(BEGIN_BYTES, socket.MSG_DONTWAIT)
            connection.send(TURNED_AWAY, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return True
