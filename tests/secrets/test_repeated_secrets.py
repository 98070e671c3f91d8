"""A service that repeats what it was sent, in answers that are no HTTP and in escaped ones: no secret gets through."""

from __future__ import annotations

import asyncio
import pickle
import traceback
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from pydantic import SecretStr

from blocks import errors
from blocks.memories.client import MemoriesClient
from blocks.posts.identity import parse_post_url

pytestmark = pytest.mark.integration

KEY: Final = "sk-q7Zk2KEYmark9wXv4"
SECRET: Final = "q7Zk2CALLBACKmark9wXv4"
CALLBACK: Final = f"https://hooks.example.com/tagtrail/{SECRET}"
POST: Final = "https://www.instagram.com/p/CxYz012abcE/"


def whole(body: str, status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} Whatever\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


def escaped(text: str) -> str:
    return text.replace("m", "\\u006d").replace("k", "\\u006B")


ANSWERS: Final[dict[str, Callable[[str], bytes]]] = {
    "header line": lambda said: f"HTTP/1.1 400 Bad\r\nauthorization {said}\r\n\r\n".encode(),
    "status line": lambda said: f"authorization: {said}\r\n\r\n".encode(),
    "chunk": lambda said: f"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{said}\r\n".encode(),
    "reason": lambda said: f"HTTP/1.1 502 {said}\r\ncontent-length: 0\r\n\r\n".encode(),
    "message": lambda said: whole(f'{{"code":"0001","msg":"bad: {escaped(said)}"}}'),
    "code": lambda said: whole(f'{{"code":"{escaped(said)}","msg":"bad"}}'),
    "text within the message": lambda said: whole(
        f'{{"code":"0003","msg":"{{\\"auth\\":\\"{escaped(said)}\\"}}"}}'.replace("\\u", "\\\\u")
    ),
    "no JSON": lambda said: whole(f"<p>{said.replace('m', '&#109;')}</p>", 502),
    "task id": lambda said: whole(f'{{"code":"0000","data":{{"taskId":"{escaped(said)}"}}}}'),
    "item": lambda said: whole(f'{{"code":"0000","data":{{"videos":[{{"video_no":"{escaped(said)}"}}]}}}}'),
    "metadata": lambda said: whole(f'{{"code":"0000","data":{{"{escaped(said)}":1}}}}'),
}


@asynccontextmanager
async def service(said: bytes) -> Any:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("secret", [KEY, SECRET, CALLBACK])
@pytest.mark.parametrize("where", ANSWERS)
async def test_what_the_service_repeats_reaches_nobody(where: str, secret: str) -> None:
    told: list[Any] = []
    carried: list[BaseException | None] = []
    async with service(ANSWERS[where](secret)) as url:
        client = MemoriesClient(
            SecretStr(KEY),
            v1_base_url=f"{url}/v1",
            v2_base_url=f"{url}/v2",
            timeout_seconds=5,
            callback_url=CALLBACK,
            witness=lambda *seen: told.append(seen),
        )
        ref = parse_post_url(POST)
        async with client:
            for call in (
                lambda: client.import_hashtag("moss", 1, callback_url=CALLBACK),
                lambda: client.import_status("1"),
                lambda: client.metadata(ref, "apify"),
            ):
                try:
                    told.append(await call())
                except errors.MemoriesError as error:
                    told += [str(error), vars(error), *traceback.format_exception(error), pickle.dumps(error)]
                    carried += [error.__cause__, error.__context__]
    assert told
    assert not any(carried)
    for mark in ("q7Zk2KEYmark9wXv4", SECRET):
        # As it is, and as it is read once what is escaped has been resolved, however often.
        shown = repr(told)
        for _ in range(3):
            assert mark not in shown, where
            shown = shown.replace("\\\\u", "\\u").replace("\\u006d", "m").replace("\\u006B", "k").replace("&#109;", "m")
    names = {errors.NoAnswer.what: ("header line", "status line", "chunk"), "bad": ("message", "code")}
    for words, places in names.items():
        assert where not in places or words in repr(told), "the rest of what was said is still told"
