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
MOST_HEAD_BYTES = 16_384
BODY_SECONDS = 5.0
"""So long a body may take to arrive."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = tuple[int, bytes]

OK: Answer = (200, b'{"status":"ok"}')
ENDED: Answer = (503, b'{"error":"the receiver is about to end; send it again later"}')
BUSY: Answer = (503, b'{"error":"too many requests that change nothing; come again later"}')
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


class HeadTooLarge(Exception):
    """The head is larger than any callback's: the server reads one that comes at once whatever its length."""


class Gone(Exception):
    """The sender closed the connection before its body had come."""


class Receiver:
    """Answers POST at one path, whose last part is the secret, and GET at /health; nothing else is there.

    `path` is kept as a hash: a guess is compared in constant time, and nothing here can show the secret. `scrub` cuts
    the secret out of a callback's own words.
    """

    def __init__(
        self,
        path: str,
        *,
        intake: Intake,
        telling: Telling,
        refusals: Refusals,
        pace: Pace,
        scrub: Callable[[bytes], bytes],
    ) -> None:
        self._path = hashlib.sha256(path.encode()).digest()
        self._intake, self._telling, self._refusals, self._pace = intake, telling, refusals, pace
        self._scrub = scrub
        self._tasks: list[asyncio.Task[None]] = []
        self.on_end: Callable[[], None] = lambda: None
        """Called where storing or telling ended by itself; `fault` says why."""
        self.fault: BaseException | None = None

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
        except HeadTooLarge:
            self._refusals.note("refused: a larger head than any callback has (431)")
            status, body = 431, b'{"error":"too large a head"}'
            headers.append(_CLOSE)
        except Gone:
            self._refusals.note("closed by the sender before its body had come")
            return
        except TimeoutError:
            self._refusals.note("refused: the body did not arrive in time (408)")
            status, body = 408, b'{"error":"too slow"}'
            headers.append(_CLOSE)
        except BadCallback as error:
            self._refusals.note("refused: no callback (400)", str(error))
            status, body = 400, b'{"error":"no callback"}'
        if not good:
            seconds = self._pace.take()
            if seconds is None:
                (status, body), headers = BUSY, [_CLOSE]
            elif seconds > 0 and await _leaves(receive, seconds):
                return
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def is_ours(self, path: bytes) -> bool:
        """Whether this is the path of callbacks, secret and all."""
        return hmac.compare_digest(hashlib.sha256(path).digest(), self._path)

    async def _judge(self, scope: MutableMapping[str, Any], receive: Receive) -> tuple[Answer, bool]:
        """The answer, and whether it is to be given at once."""
        path: bytes = scope["raw_path"]
        head_bytes = len(path) + sum(len(name) + len(value) for name, value in scope["headers"])
        if head_bytes > MOST_HEAD_BYTES:
            raise HeadTooLarge
        if path == HEALTH and scope["method"] in ("GET", "HEAD"):
            return (OK if self.fault is None else ENDED), True
        if not self.is_ours(path):
            self._refusals.note("refused: a wrong secret, or another path (404)")
            return NOT_FOUND, False
        if scope["method"] != "POST":
            self._refusals.note("refused: another method than POST (405)")
            return NOT_POST, False
        callback = read_callback(await asyncio.wait_for(_body(scope, receive), BODY_SECONDS), self._scrub)
        if self.fault is not None:
            return ENDED, True
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
                for task in self._tasks:
                    task.add_done_callback(self._ended)
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.fault = self.fault or task.exception()
            self.on_end()

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for close in (self._intake.close, self._telling.close):
            # What ended a task may come again here; the other part is closed all the same.
            [fault] = await asyncio.gather(close(), return_exceptions=True)
            if fault is not None:
                self._refusals.note("could not be closed", type(fault).__name__)
        self._refusals.close()


async def _leaves(receive: Receive, seconds: float) -> bool:
    """Wait so long, or until the client has gone; whether it has. What it still sends is let go, up to a bound."""
    let_go = 0
    try:
        async with asyncio.timeout(seconds):
            while (message := await receive())["type"] != "http.disconnect":
                let_go += len(message["body"])
                if let_go > MOST_BYTES:
                    await asyncio.sleep(seconds)
    except TimeoutError:
        return False
    return True


async def _body(scope: MutableMapping[str, Any], receive: Receive) -> bytes:
    """The whole body; one that says it is too large is not read at all."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if not length.isdigit() or int(length) > MOST_BYTES:
        raise TooLarge
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            raise TooLarge
        if not message.get("more_body"):
            return bytes(body)
