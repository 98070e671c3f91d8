"""The receiver as an ASGI application, written by hand: what is no good callback costs as little as possible."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from blocks.memories.callbacks import MOST_BYTES, BadCallback, read_callback
from deployments.receiver.intake import Intake, Verdict
from deployments.receiver.pace import Pace
from deployments.receiver.refusals import Refusals
from deployments.receiver.telling import Telling

HEALTH = b"/health"
BODY_SECONDS = 5.0
"""So long a body may take to arrive."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = tuple[int, bytes]

OK: Answer = (200, b'{"status":"ok"}')
NOT_POST: Answer = (405, b'{"error":"callbacks are sent by POST"}')
NOT_FOUND: Answer = (404, b'{"error":"not found"}')
_VERDICTS: dict[Verdict, Answer] = {
    Verdict.STORED: (200, b'{"status":"stored"}'),
    Verdict.KNOWN: (200, b'{"status":"stored"}'),
    Verdict.HELD: (202, b'{"status":"accepted"}'),
    Verdict.UNKNOWN: (404, b'{"error":"unknown task"}'),
    Verdict.FULL: (503, b'{"error":"too many callbacks wait; send it again later"}'),
}
_CLOSE = (b"connection", b"close")


class TooLarge(Exception):
    """The body is larger than any callback."""


class Receiver:
    """Answers POST at one path, whose last part is the secret, and GET at /health; nothing else is there.

    `path` is kept as a hash: a guess is compared in constant time, and nothing here can show the secret.
    """

    def __init__(self, path: str, *, intake: Intake, telling: Telling, refusals: Refusals) -> None:
        self._path = hashlib.sha256(path.encode()).digest()
        self._intake, self._telling, self._refusals = intake, telling, refusals
        self._pace = Pace()
        self._tasks: list[asyncio.Task[None]] = []

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = []
        good = False
        try:
            (status, body), good = await self._judge(scope, receive)
        except TooLarge:
            self._refusals.note("refused: larger than any callback (413)")
            status, body = 413, b'{"error":"too large"}'
            headers.append(_CLOSE)
        except TimeoutError:
            self._refusals.note("refused: the body did not arrive in time (408)")
            status, body = 408, b'{"error":"too slow"}'
            headers.append(_CLOSE)
        except BadCallback as error:
            self._refusals.note("refused: no callback (400)", str(error))
            status, body = 400, b'{"error":"no callback"}'
        if not good:
            await self._pace.turn()
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _judge(self, scope: MutableMapping[str, Any], receive: Receive) -> tuple[Answer, bool]:
        """The answer, and whether it is to be given at once."""
        path: bytes = scope["raw_path"]
        if path == HEALTH and scope["method"] in ("GET", "HEAD"):
            return OK, True
        if not hmac.compare_digest(hashlib.sha256(path).digest(), self._path):
            self._refusals.note("refused: a wrong secret, or another path (404)")
            return NOT_FOUND, False
        if scope["method"] != "POST":
            self._refusals.note("refused: another method than POST (405)")
            return NOT_POST, False
        callback = read_callback(await asyncio.wait_for(_body(scope, receive), BODY_SECONDS))
        verdict = await self._intake.put(callback)
        if verdict is Verdict.UNKNOWN:
            self._refusals.note("refused: no import has this task (404); kept for ten minutes", repr(callback.task_id))
        elif verdict is Verdict.FULL:
            self._refusals.note("refused: too many callbacks wait for the database (503)")
        return _VERDICTS[verdict], verdict in (Verdict.STORED, Verdict.HELD)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._tasks = [asyncio.create_task(self._intake.run()), asyncio.create_task(self._telling.run())]
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._intake.close()
        await self._telling.close()
        self._refusals.close()


async def _body(scope: MutableMapping[str, Any], receive: Receive) -> bytes:
    """The whole body; one that says it is too large is not read at all."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if not length.isdigit() or int(length) > MOST_BYTES:
        raise TooLarge
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            raise TooLarge
        if not message.get("more_body"):
            return bytes(body)
