"""Runs the receiver on a real port: in the foreground, or in a thread of a test."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from blocks.database.engine import Store
from blocks.memories.errors import UsageError
from blocks.settings import Settings
from deployments.receiver.app import Receiver
from deployments.receiver.intake import Intake
from deployments.receiver.refusals import Refusals
from deployments.receiver.telling import Sender, Telling
from deployments.serving import QuietServer, listen

DEFAULT_PORT = 8660

REQUEST_SECONDS = 10.0
"""A connection that has no whole request for so long is closed."""

MOST_CONNECTIONS = 400
"""The oldest gives way to a new one: those of good callbacks last for milliseconds."""

MOST_HEAD_BYTES = 16_384
LONGEST_CALLBACK_URL = 299
"""The service takes no longer one (at one endpoint at least)."""

_START_SECONDS = 20.0
_STOP_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Address:
    """Where callbacks are expected; `path` holds the secret, and is never shown."""

    base_url: str
    path: str

    def __repr__(self) -> str:
        return f"Address({self.base_url!r})"


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


class _Connections:
    """The open connections, oldest first, and what to do where there are too many or one is too slow."""

    def __init__(self, refusals: Refusals) -> None:
        self.refusals = refusals
        self.open: dict[_Protocol, None] = {}

    def admit(self, protocol: _Protocol) -> None:
        self.open[protocol] = None
        if len(self.open) > MOST_CONNECTIONS:
            oldest = next(iter(self.open))
            del self.open[oldest]
            self.refusals.note("closed the oldest of too many connections")
            oldest.transport.abort()


class _Protocol(H11Protocol):
    """HTTP over h11 on connections that are few, and have a request within seconds."""

    admitted: _Connections
    _deadline: asyncio.TimerHandle | None = None

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

    def on_response_complete(self) -> None:
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


class _Server(QuietServer):
    def __init__(self, receiver: Receiver, refusals: Refusals, on_start: Callable[[], None]) -> None:
        connections = _Connections(refusals)
        # What is no HTTP is counted above, and a line for each is what a flood would like to have.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        config = uvicorn.Config(
            receiver,
            http=type("ReceiverProtocol", (_Protocol,), {"admitted": connections}),
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
        self._on_start()


def _make(
    address: Address, store: Store, sender: Sender, say: Callable[[str], None], on_start: Callable[[], None]
) -> _Server:
    refusals = Refusals(say)
    telling = Telling(store, refusals, sender)
    intake = Intake(store, refusals, on_stored=telling.wake)
    return _Server(Receiver(address.path, intake=intake, telling=telling, refusals=refusals), refusals, on_start)


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
    """
    listener = listen(host, port)
    try:
        _make(address, store, sender, say, lambda: announce(listener.getsockname()[1])).run(sockets=[listener])
    finally:
        listener.close()


class ReceiverServer:
    """A receiver in a thread of this process, on a free port of 127.0.0.1; use it as a context manager."""

    def __init__(self, address: Address, store: Store, sender: Sender, *, say: Callable[[str], None]) -> None:
        self._listener = listen("127.0.0.1", 0)
        self.port: int = self._listener.getsockname()[1]
        self._listening = threading.Event()
        self._server = _make(address, store, sender, say, self._listening.set)
        # What Prefect's settings are for the caller, they are in the thread.
        run = partial(copy_context().run, self._run)
        self._thread = threading.Thread(target=run, name="tagtrail-receiver", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])

    def __enter__(self) -> ReceiverServer:
        self._thread.start()
        if not self._listening.wait(_START_SECONDS):
            self.stop()
            raise RuntimeError("the receiver did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop serving; what waits for the database is stored first."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS + 10)
        self._listener.close()
