"""A receiver in a thread of the test's process, on a free port of 127.0.0.1."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Self

from blocks.database.engine import Store
from blocks.errors import TagtrailError
from deployments.receiver.limits import Limits
from deployments.receiver.outbox_relay import Sender
from deployments.receiver.server import Address, Server
from deployments.serving import listen


class ReceiverServer:
    """A context manager; what waits for the database is stored at its end. `fault`: why it ended by itself."""

    def __init__(
        self,
        address: Address,
        store: Store,
        sender: Sender,
        *,
        say: Callable[[str], None],
        limits: Limits = Limits(),
    ) -> None:
        self._server = Server(address, store, sender, say, limits)
        self._listener = listen("127.0.0.1", 0)
        self.port: int = self._listener.getsockname()[1]
        self.fault: TagtrailError | None = None
        # What Prefect's settings are for the caller, they are in the thread.
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), daemon=True)

    def _run(self) -> None:
        try:
            self._server.serve_at(self._listener)
        except TagtrailError as error:
            self.fault = error

    def __enter__(self) -> Self:
        self._thread.start()
        while self._thread.is_alive() and not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        self._listener.close()
