"""Runs the receiver on a real port, in the foreground."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from blocks.database.engine import Store
from blocks.errors import TagtrailError, UsageError
from blocks.memories.redaction import Scrubber
from blocks.settings import Settings
from deployments.receiver.app import Receiver
from deployments.receiver.inbox_writer import InboxWriter
from deployments.receiver.limits import Limits, ThrottledLog
from deployments.receiver.outbox_relay import OutboxRelay, Sender
from deployments.serving import BACKLOG, QuietServer, listen

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

    def listen(self, backlog: int = BACKLOG, /) -> None:
        """Asyncio takes as many connections at once as its backlog is long; the system's is as long as ever."""
        super().listen(BACKLOG)

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


DEFAULT_PORT = 8660

MAX_CALLBACK_URL = 299
"""The service takes no longer one (at one endpoint at least)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where callbacks are expected; `path` holds the secret, and is never shown."""

    base_url: str
    path: str

    def __repr__(self) -> str:
        return f"Address({self.base_url!r})"

    @property
    def url(self) -> str:
        """What the service was told to call, secret and all."""
        return f"{self.base_url}/{self.path.rpartition('/')[2]}"


def address_of(settings: Settings) -> Address:
    """The path that the settings name.

    Raises:
        UsageError: the URL or the secret is missing, or cannot be used.
    """
    url, secret = settings.tagtrail_callback_url, settings.tagtrail_callback_secret.get_secret_value()
    if not url:
        raise UsageError(
            "TAGTRAIL_CALLBACK_URL is not set; give the address at which the service reaches this receiver, such as "
            "https://hooks.example.com/tagtrail"
        )
    if not secret:
        raise UsageError(
            "TAGTRAIL_CALLBACK_SECRET is not set; make one, for example by "
            "`python -c 'import secrets; print(secrets.token_urlsafe(24))'`"
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            "TAGTRAIL_CALLBACK_URL is an address such as https://hooks.example.com/tagtrail, with no ? or #"
        )
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", secret):
        raise UsageError(
            "TAGTRAIL_CALLBACK_SECRET has to be of letters, digits and the signs . _ ~ - (it is part of a URL)"
        )
    base_url = url.rstrip("/")
    if len(base_url) + 1 + len(secret) > MAX_CALLBACK_URL:
        raise UsageError(
            f"TAGTRAIL_CALLBACK_URL and TAGTRAIL_CALLBACK_SECRET together are longer than {MAX_CALLBACK_URL} "
            "characters, which the service does not take"
        )
    return Address(base_url, f"{urlsplit(base_url).path}/{secret}")


class Server(QuietServer):
    """The receiver's server, with all that belongs to it."""

    def __init__(
        self,
        address: Address,
        store: Store,
        sender: Sender,
        say: Callable[[str], None],
        limits: Limits = Limits(),
    ) -> None:
        log = ThrottledLog(say)
        relay = OutboxRelay(store, log, sender, limits)
        writer = InboxWriter(store, log, on_stored=relay.wake, limits=limits)
        redact = Scrubber("", address.url)
        receiver = Receiver(address.path, writer=writer, relay=relay, log=log, redact=redact, limits=limits)
        self._receiver, self._limits = receiver, limits
        receiver.on_end = self._end
        # What is no HTTP gets a line each, which a flood would like to have.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        # Also where somebody configures logging: a line of the access log would hold the path, and so the secret.
        logging.getLogger("uvicorn.access").disabled = True
        config = uvicorn.Config(
            receiver.app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=TAKEN_AT_ONCE,
            timeout_keep_alive=5,
            # Every answer that is under way is waited for.
            timeout_graceful_shutdown=int(limits.body_seconds) + 1,
            h11_max_incomplete_event_size=limits.max_head_bytes,
        )
        super().__init__(config)

    def serve_at(self, listener: socket.socket) -> None:
        """Serve until it is ended; `listener` is closed.

        Raises:
            TagtrailError: writer or relay ended by itself.
        """
        with Listener(listener, self._limits.max_connections, self._receiver.turns_away) as taking:
            self.run(sockets=[taking])
        if (fault := self._receiver.fault) is not None:
            last = traceback.extract_tb(fault.__traceback__)[-1:]
            where = "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in last)
            raise TagtrailError(f"the receiver could not go on: {type(fault).__name__}: {fault}{where}") from fault

    def _end(self) -> None:
        self.should_exit = True


def serve(
    address: Address,
    store: Store,
    sender: Sender,
    *,
    host: str,
    port: int,
    say: Callable[[str], None],
    announce: Callable[[int], None],
) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is given the port once it listens, `say` lines for the log.

    Raises:
        PortTaken: somebody else has the port.
        OSError: this machine has no such address.
        TagtrailError: it could not go on.
    """
    server = Server(address, store, sender, say)
    with listen(host, port) as listener:
        announce(listener.getsockname()[1])
        server.serve_at(listener)
