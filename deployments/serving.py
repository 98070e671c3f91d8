"""What Tagtrail's own small HTTP servers share: how they listen, and how they end."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Generic, Self, TypeVar

import uvicorn

_START_SECONDS = 20.0


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
    """A socket bound to an address of this machine; port 0 takes a free one.

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
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortTaken(errno.EADDRINUSE, f"port {port} of {host} is in use; choose another with --port") from None
    return listener


S = TypeVar("S", bound=QuietServer)


class ThreadServer(Generic[S]):
    """A server in a thread of this process, on a port of 127.0.0.1 (0 takes a free one); a context manager.

    `make` is given what its server has to call once it listens; a stop waits `stop_seconds` for the thread's end.
    """

    def __init__(
        self, name: str, make: Callable[[Callable[[], None]], S], *, port: int = 0, stop_seconds: float
    ) -> None:
        self._name, self._stop_seconds = name, stop_seconds
        self._listener = listen("127.0.0.1", port)
        self.port: int = self._listener.getsockname()[1]
        self._listening = threading.Event()
        self._server = make(self._listening.set)
        self._thread = threading.Thread(target=self._run, name=f"tagtrail-{name}", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(_START_SECONDS):
            self.stop()
            raise RuntimeError(f"the {self._name} did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop serving, and free the port."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(self._stop_seconds)
        self._listener.close()
