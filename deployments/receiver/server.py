"""Runs the receiver on a real port: in the foreground, or in a thread of a test."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import traceback
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn

from blocks.database.engine import Store
from blocks.errors import TagtrailError, UsageError
from blocks.memories.redaction import Scrubber
from blocks.settings import Settings
from deployments.receiver.app import MOST_HEAD_BYTES, Receiver
from deployments.receiver.connections import ACCEPTED_AT_ONCE, BACKLOG, Connections, Door, Protocol
from deployments.receiver.intake import Intake
from deployments.receiver.pace import Pace
from deployments.receiver.refusals import Refusals
from deployments.receiver.telling import Sender, Telling
from deployments.serving import QuietServer, ThreadServer, listen

DEFAULT_PORT = 8660

LONGEST_CALLBACK_URL = 299
"""The service takes no longer one (at one endpoint at least)."""

_STOP_SECONDS = 3
_LAST_ANSWERS_SECONDS = 0.5
"""When the receiver stops, good callbacks are answered within this; who waits for more is not waited for."""


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
    if len(base_url) + 1 + len(secret) > LONGEST_CALLBACK_URL:
        raise UsageError(
            f"TAGTRAIL_CALLBACK_URL and TAGTRAIL_CALLBACK_SECRET together are longer than {LONGEST_CALLBACK_URL} "
            "characters, which the service does not take"
        )
    return Address(base_url, f"{urlsplit(base_url).path}/{secret}")


class _Server(QuietServer):
    def __init__(self, receiver: Receiver, connections: Connections, on_start: Callable[[], None]) -> None:
        self._receiver, self._connections = receiver, connections
        receiver.on_end = self._end
        # What is no HTTP is counted above, and a line for each is what a flood would like to have.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        config = uvicorn.Config(
            receiver,
            http=type("ReceiverProtocol", (Protocol,), {"admitted": connections}),
            backlog=ACCEPTED_AT_ONCE,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=_STOP_SECONDS,
            h11_max_incomplete_event_size=MOST_HEAD_BYTES,
        )
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        for one in sockets or []:
            # asyncio takes as many at once as its backlog is long, before it serves any; the system's may be longer.
            one.listen(BACKLOG)
        self._on_start()

    def serve_at(self, listener: socket.socket) -> None:
        """Serve until it is ended; `listener` is taken over, and closed.

        Raises:
            TagtrailError: storing or telling ended by itself.
        """
        with Door(listener, self._connections.sends_away) as door:
            self.run(sockets=[door])
        if (fault := self._receiver.fault) is not None:
            last = traceback.extract_tb(fault.__traceback__)[-1:]
            where = "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in last)
            raise TagtrailError(f"the receiver could not go on: {type(fault).__name__}: {fault}{where}") from fault

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As the base's; but nobody who waits for no good answer is waited for, and so nothing has to be cancelled."""
        asyncio.get_running_loop().call_later(_LAST_ANSWERS_SECONDS, self._connections.abort)
        await super().shutdown(sockets=sockets)

    def _end(self) -> None:
        self.should_exit = True


def _make(
    address: Address, store: Store, sender: Sender, say: Callable[[str], None], on_start: Callable[[], None]
) -> _Server:
    refusals = Refusals(say)
    telling = Telling(store, refusals, sender)
    intake = Intake(store, refusals, on_stored=telling.wake)
    pace = Pace()
    scrub = Scrubber("", address.url)
    receiver = Receiver(address.path, intake=intake, telling=telling, refusals=refusals, pace=pace, scrub=scrub)
    return _Server(receiver, Connections(receiver, refusals, pace), on_start)


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
    with listen(host, port) as listener:
        taken = listener.getsockname()[1]
        _make(address, store, sender, say, lambda: announce(taken)).serve_at(listener)


class ReceiverServer(ThreadServer[_Server]):
    """A receiver in a thread of this process, on a free port of 127.0.0.1; use it as a context manager.

    At the end what waits for the database is stored first; `fault` says why a receiver ended by itself.
    """

    def __init__(self, address: Address, store: Store, sender: Sender, *, say: Callable[[str], None]) -> None:
        super().__init__(
            "receiver",
            lambda on_start: _make(address, store, sender, say, on_start),
            stop_seconds=_STOP_SECONDS + 10,
        )
        self.fault: TagtrailError | None = None
        # What Prefect's settings are for the caller, they are in the thread.
        self._context = copy_context()

    def _run(self) -> None:
        try:
            self._context.run(self._server.serve_at, self._listener)
        except TagtrailError as error:
            self.fault = error
