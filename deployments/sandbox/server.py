"""Runs the sandbox on a real port: in the foreground, or in a thread of a test or of the demo."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Self

import orjson
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from deployments.sandbox.answers import Answer
from deployments.sandbox.app import TRANSPORT, V1, V2, Sandbox
from deployments.sandbox.scenarios import Scenario
from deployments.sandbox.state import CALENDAR_SCALE, State
from deployments.serving import QuietServer, listen

DEFAULT_PORT = 8650
_STOP_SECONDS = 3


class _Protocol(H11Protocol):
    """HTTP over h11 that leaves its transport in the scope, for answers that break the connection."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        application: Any = self.app

        def with_transport(scope: MutableMapping[str, Any], receive: Any, send: Any) -> Awaitable[None]:
            scope.setdefault("extensions", {})[TRANSPORT] = transport
            answer: Awaitable[None] = application(scope, receive, send)
            return answer

        self.app = with_transport


class _Server(QuietServer):
    """The sandbox's server; at its end it waits for no answer that drips."""

    def __init__(self, sandbox: Sandbox) -> None:
        config = uvicorn.Config(
            sandbox,
            http=_Protocol,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        super().__init__(config)
        self._sandbox = sandbox

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._sandbox.close()
        await super().shutdown(sockets=sockets)


def serve(state: State, *, host: str = "127.0.0.1", port: int = DEFAULT_PORT, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is given the URL once it listens. Port 0 takes a free one.

    Raises:
        PortTaken: somebody else has the port.
    """
    with listen(host, port) as listener:
        announce(f"http://{host}:{listener.getsockname()[1]}")
        _Server(Sandbox(state)).run(sockets=[listener])


class SandboxServer:
    """A sandbox in a thread of this process, on a free port of 127.0.0.1; use it as a context manager.

    Attributes: `url`, `v1_base_url`, `v2_base_url`, and `sandbox`, the application itself. At the end connections that
    are open are closed.
    """

    def __init__(
        self,
        scenario: str | Scenario = "default",
        *,
        time_scale: float = 1.0,
        calendar_scale: float = CALENDAR_SCALE,
        limits: bool = True,
        latency_ms: float = 0,
        payloads: Path | None = None,
        keys: frozenset[str] | None = None,
        port: int = 0,
    ) -> None:
        self.sandbox = Sandbox(
            State(
                scenario,
                time_scale=time_scale,
                calendar_scale=calendar_scale,
                limits=limits,
                latency_ms=latency_ms,
                payloads=payloads,
                keys=keys,
            )
        )
        self._listener = listen("127.0.0.1", port)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.v1_base_url = self.url + V1
        self.v2_base_url = self.url + V2
        self._server = _Server(self.sandbox)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), name="sandbox", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        while self._thread.is_alive() and not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop serving, and free the port."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS + 5)
        self._listener.close()

    def accounting(self) -> dict[str, Any]:
        """The accounting (see `Accounting.as_dict`)."""
        return self._call("GET", "books")

    def reset(self) -> None:
        """Forget imports, counts and used-up limits, and begin the time anew."""
        self._call("POST", "reset")

    def play(self, name: str, **changes: Any) -> None:
        """Behave by another scenario from now on, with some of its switches changed."""
        self._call("POST", "scenario", {"name": name, "changes": changes})

    def advance(self, seconds: float) -> None:
        """Move the virtual time forward."""
        self._call("POST", "advance", {"seconds": seconds})

    def answer_by(self, answer: Callable[..., Answer]) -> None:
        """Have `answer(call, key, number, served)` answer each call from now on, instead of the scenario's faults; its
        arguments are those of `faults.inject`, and `served.serve()` gives the orderly answer."""
        self.sandbox.state.answer_by = answer

    def _call(self, method: str, page: str, body: Any = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, f"/sandbox/{page}", body=None if body is None else orjson.dumps(body))
            response = connection.getresponse()
            found: dict[str, Any] = orjson.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(found["error"])
        return found
