"""Whatever is read from outside takes time in proportion to its length: a fuzzer that watches the time.

`python tests/blocks/test_growth.py SECONDS SEED` looks for others of the kind.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from blocks.errors import NoAnswer, TagtrailError
from blocks.memories import responses
from blocks.memories.callbacks import BadCallback, read_callback
from blocks.memories.redaction import Scrubber
from blocks.outside_words import for_json, for_markdown, for_terminal, plain
from blocks.posts.captions import hashtag_key, hashtags_in, mentions_in, normalise_hashtag
from blocks.posts.identity import parse_creator_url, parse_post_url, private_url
from blocks.posts.payloads.mapping import map_post
from blocks.posts.payloads.pseudonyms import scrub_comments
from blocks.posts.platforms.registry import PLATFORMS
from deployments.cli.writers import cell
from tests.cases import each_case

Reader = Callable[[str], object]

SCRUB = Scrubber("sk-mavi-1nvented/key+0123456789", "https://hooks.example.com/in/invented-and-long-enough")
POST = parse_post_url("https://www.tiktok.com/@harbour.kiln/video/7434361641896103211")
NOW = datetime(2026, 11, 20, tzinfo=UTC)
SHORT, LONG = 500, 8_000
MAX_GROWTH = 64
"""Between 16, where time is linear, and 256, where it is quadratic: a machine that stands still is no slow reader."""
QUICK_SECONDS = 0.001
"""What reads a long text so quickly is not quadratic."""


def _envelope(text: str) -> object:
    body = json.dumps({"code": "0000", "data": {"video_ids": [text, {"video_url": text, "name": text}]}}).encode()
    return responses.import_items(
        responses.open_envelope(body, http_status=200, endpoint="/x"), endpoint="/x", body=body
    )


def _refusal(text: str) -> object:
    body = json.dumps({"code": text[:20], "msg": text}).encode()
    return responses.open_envelope(body, http_status=400, endpoint="/x", retry_after=text, now=lambda: NOW)


def _payload(text: str) -> object:
    comment = {"text": text, "user": {"username": text}}
    node = {"id": POST.post_id, "desc": text, "author": {"uniqueId": text}, "stats": {"playCount": 1}, text: text}
    data = {"itemInfo": {"itemStruct": node | {"comments": [comment]}}}
    return map_post(scrub_comments(data, "pseudonymise", b"key"), POST)


def _gone(text: str) -> object:
    return map_post({"message": text, "error": text}, POST)


READERS: dict[str, Reader] = {
    **{f"hashtags {name}": lambda text, name=name: hashtags_in(text, name) for name in PLATFORMS},  # type: ignore[misc]
    **{f"mentions {name}": lambda text, name=name: mentions_in(text, name) for name in PLATFORMS},  # type: ignore[misc]
    "typed hashtag": normalise_hashtag,
    "key of a hashtag": hashtag_key,
    "secrets of an answer": lambda text: SCRUB(f"&#115;{text}".encode("utf-8", "replace")),
    "secrets of an error": lambda text: SCRUB.words_of(ValueError(text)),
    "URL": parse_post_url,
    "private URL": private_url,
    "creator": parse_creator_url,
    "envelope": _envelope,
    "refusal": _refusal,
    "error": lambda text: str(NoAnswer(text)),
    "callback": lambda text: read_callback(
        json.dumps({"taskId": "t", "status": text, "message": text}).encode(), SCRUB
    ),
    "payload": _payload,
    "gone": _gone,
    "terminal": for_terminal,
    "line": plain,
    "Markdown": for_markdown,
    "JSON": for_json,
    "cell": cell,
    "table": lambda text: Console(width=80, highlight=False, quiet=True).print(Text(plain(text))),
}

UNITS = [
    *["\\", "\\\\u00", "\\u0073", "%25", "%73", "&#", "&#0", "&#x0", "&amp;", "\\/", "sk-", "sk\\", "b'", "73:"],
    *["c2st", "a-", "a.", "a.b/", "#", "@", "#a", "#a ", "@a ", "@a.", "http://", "http://a ", "www.", "://", "-"],
    *[".", "1:", "aA"],
    *[" ", "\n", " :", "\t\x00", "\x1b[31m", "\x1b]8;;", "\u202e", "\u200d", "\U000e0061", "\ufe0f", "#\u0301", "é#"],
    *["`", "`tagtrail ", "![](", "[a](", "<b>", "|", "*_", "~", "=", "'", '"', "{", "[", "9", "0", "not found ", "no "],
    *["漢#漢", "#हिन्दी ", "#👩‍👩‍👧 ", "RT@", "&#39;", "?v=", "?u=https%3A%2F%2F", "…", "..", "isNotAvailable", "_-"],
]  # fmt: skip


def takes(read: Reader, text: str) -> float:
    """CPU seconds of this thread, so that a busy machine is no slow reader."""
    began = time.thread_time()
    with suppress(TagtrailError, BadCallback):
        read(text)
    return time.thread_time() - began


def growth(read: Reader, unit: str) -> float:
    """How many times longer a text of 16 times the size takes: 16 where time is linear, 256 where it is quadratic."""
    seconds = takes(read, unit * (LONG // len(unit)))
    if seconds < QUICK_SECONDS:
        return 1.0
    return seconds / max(QUICK_SECONDS / 256, min(takes(read, unit * (SHORT // len(unit))) for _ in range(3)))


def is_linear(read: Reader, unit: str) -> bool:
    """Whether one of five measurements says so: what disturbs a measurement makes it longer."""
    return any(growth(read, unit) < MAX_GROWTH for _ in range(5))


@each_case("name", READERS)
def test_the_time_of_a_reader_grows_with_its_text_only(name: str) -> None:
    gc.disable()
    try:
        takes(READERS[name], "warm up #a @b https://e.com/")
        slow = [unit for unit in UNITS if not is_linear(READERS[name], unit)]
    finally:
        gc.enable()
    assert not slow


def test_a_quadratic_reader_is_found() -> None:
    assert not is_linear(lambda text: [text.count("x", at) for at in range(len(text))], "a-")
    assert is_linear(lambda text: [text.count("x", at, at + 1) for at in range(len(text))], "a-")


def search(seconds: float, seed: int) -> None:
    """Try units at random, for so long."""
    dice = random.Random(seed)
    letters = [*"\\%&#;@.:/-_+=~`*|<>[](){}'\"!?,$^ \t\n\r\x00\x1bab1Zux0257", *UNITS, "\u0301", "漢", "é", "👩"]
    until, tried = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        unit = "".join(dice.choices(letters, k=dice.randint(1, 5)))
        before, behind = ("".join(dice.choices(letters, k=dice.randint(0, 3))) for _ in range(2))
        for name, read in READERS.items():
            tried += 1
            if not is_linear(lambda text, read=read: read(before + text + behind), unit):  # type: ignore[misc]  # noqa: B023
                print(f"{name}: {before!r} {unit!r} {behind!r}", flush=True)
    print(f"{tried} tried")


if __name__ == "__main__":
    search(float(sys.argv[1]), int(sys.argv[2]))
