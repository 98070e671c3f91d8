"""The receiver's two pages: callbacks are sent to one path by POST, and `/health` says whether it works."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from blocks.memories.callbacks import MOST_BYTES, BadCallback, read_callback
from deployments.receiver.inbox_writer import InboxWriter, Verdict
from deployments.receiver.limits import Limits, ThrottledLog
from deployments.receiver.outbox_relay import OutboxRelay

HEALTH = b"/health"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_VERDICTS = {
    Verdict.STORED: (200, {"status": "stored"}),
    Verdict.KNOWN: (200, {"status": "stored"}),
    Verdict.HELD: (202, {"status": "accepted"}),
    Verdict.UNKNOWN: (404, {"error": "unknown task"}),
    Verdict.FULL: (503, {"error": "too many callbacks wait; send it again later"}),
}


class TooLarge(Exception):
    """The body is larger than any callback."""


class Receiver:
    """Answers callbacks at one path, whose last part is the secret.

    `path` is kept as a hash: a guess is compared in constant time, and nothing here can show the secret. `redact` cuts
    the secret out of a callback's own words.
    """

    def __init__(
        self,
        path: str,
        *,
        writer: InboxWriter,
        relay: OutboxRelay,
        log: ThrottledLog,
        redact: Callable[[bytes], bytes],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = hashlib.sha256(path.encode()).digest()
        self._writer, self._relay, self._log, self._redact = writer, relay, log, redact
        self._limits, self._clock = limits, clock
        self._refused: Counter[int] = Counter()
        """Requests that changed nothing, in this second."""
        self.on_end: Callable[[], None] = lambda: None
        """Called where writer or relay ended by itself; `fault` says why."""
        self.fault: BaseException | None = None
        routes = [Route(HEALTH.decode(), self._health), Route("/{path:path}", self._callback, methods=METHODS)]
        self.app = Starlette(routes=routes, lifespan=self._writer_and_relay)

    def turns_away(self, path: bytes) -> bool:
        """Whether a request for this path is not served: nothing is there, and more are refused than can be served."""
        if path == HEALTH or self._is_ours(path) or not self._is_flooded():
            return False
        self._log.note("refused at once: too many requests that change nothing (503)")
        return True

    def _is_flooded(self) -> bool:
        return self._refused[int(self._clock())] >= self._limits.max_refusals_a_second

    def _is_ours(self, path: bytes) -> bool:
        return hmac.compare_digest(hashlib.sha256(path).digest(), self._path)

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"}) if self.fault is None else _about_to_end()

    async def _callback(self, request: Request) -> Response:
        path: bytes = request.scope["raw_path"]
        address_bytes = len(path) + len(request.scope["query_string"])
        header_bytes = sum(len(name) + len(value) for name, value in request.headers.raw)
        if address_bytes + header_bytes > self._limits.max_head_bytes:
            return await self._refuse(
                request, 431, "too large a head", "refused: a larger head than any callback has (431)"
            )
        if not self._is_ours(path):
            return await self._refuse(request, 404, "not found", "refused: a wrong secret, or another path (404)")
        if request.method != "POST":
            return await self._refuse(
                request, 405, "callbacks are sent by POST", "refused: another method than POST (405)"
            )
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await _body(request)
            callback = read_callback(body, self._redact)
        except TooLarge:
            return await self._refuse(request, 413, "too large", "refused: larger than any callback (413)")
        except TimeoutError:
            return await self._refuse(request, 408, "too slow", "refused: the body did not arrive in time (408)")
        except ClientDisconnect:
            return await self._refuse(request, 408, "gone", "closed by the sender before its body had come")
        except BadCallback as error:
            return await self._refuse(request, 400, "no callback", "refused: no callback (400)", str(error))
        if self.fault is not None:
            return _about_to_end()
        verdict = await self._writer.put(callback)
        if verdict is Verdict.UNKNOWN:
            self._log.note("refused: no import has this task (404); kept for ten minutes", repr(callback.task_id))
        elif verdict is Verdict.FULL:
            self._log.note("refused: too many callbacks wait for the database (503)")
        if verdict not in (Verdict.STORED, Verdict.HELD):
            await self._pause(request)
        status, said = _VERDICTS[verdict]
        return JSONResponse(said, status)

    async def _refuse(self, request: Request, status: int, error: str, reason: str, example: str = "") -> Response:
        self._log.note(reason, example)
        await self._pause(request)
        # What is left of a request is not read; and in a flood nobody keeps a connection.
        close = status in (408, 413, 431) or self._is_flooded()
        headers = {"Connection": "close"} if close else None
        return JSONResponse({"error": error}, status, headers)

    async def _pause(self, request: Request) -> None:
        """Let whoever asks for what changes nothing wait, so that a flood of such requests takes little time."""
        second = int(self._clock())
        self._refused = Counter({second: self._refused[second] + 1})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.pause_of_refusals_seconds):
                while (await request.receive())["type"] != "http.disconnect":
                    pass

    @contextlib.asynccontextmanager
    async def _writer_and_relay(self, _: Starlette) -> AsyncIterator[None]:
        """Both run as long as the receiver does; where one ends by itself, the receiver ends."""
        tasks = [asyncio.create_task(self._writer.run()), asyncio.create_task(self._relay.run())]
        for task in tasks:
            task.add_done_callback(self._ended)
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for close in (self._writer.close, self._relay.close):
            # What ended a task may come again here; the other one is closed all the same.
            [fault] = await asyncio.gather(close(), return_exceptions=True)
            if fault is not None:
                self._log.note("could not be closed", type(fault).__name__)
        self._log.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.fault = self.fault or task.exception()
            self.on_end()


def _about_to_end() -> Response:
    return JSONResponse({"error": "the receiver is about to end; send it again later"}, 503)


async def _body(request: Request) -> bytes:
    """The whole body; one that says it is too large is not read at all."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MOST_BYTES:
        raise TooLarge
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise TooLarge
    return bytes(body)
