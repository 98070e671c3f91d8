"""The error tree: drawn as it is, picklable with all facts, and one clear sentence each."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from blocks import errors
from blocks.errors import (
    BadKey,
    MemoriesError,
    NoAnswer,
    NoCredits,
    Refused,
    ServerFault,
    ServicePaused,
    SpendCapReached,
    StoreError,
    TagtrailError,
    TooManyRequests,
    UnknownShape,
    Unreadable,
    UsageError,
)
from tests.cases import each_case


def refused_key(advice: str) -> BadKey:
    error = BadKey(http_status=401)
    error.advice = advice
    return error


def below(cls: type[TagtrailError], depth: int = 0) -> Iterator[tuple[int, str]]:
    yield depth, cls.__name__
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from below(child, depth + 1)


def classes() -> list[type[TagtrailError]]:
    return [getattr(errors, name) for _, name in below(TagtrailError)]


def make(cls: type[TagtrailError]) -> TagtrailError:
    if issubclass(cls, Unreadable):
        return cls("not JSON", body=b"<html>", endpoint="/scraper", code=None, http_status=200)
    if issubclass(cls, MemoriesError):
        error = cls("said", endpoint="/scraper", code="0429", http_status=429, retry_after_seconds=2.5)
        error.calls = 2
        return error
    if cls is UnknownShape:
        return UnknownShape(["a", "b"])
    if cls is SpendCapReached:
        return SpendCapReached("day", 20, 19.99, 0.02)
    if cls is ServicePaused:
        return ServicePaused("imports", datetime(2026, 11, 30, 18, tzinfo=UTC))
    return cls("one sentence")


def test_the_drawing_is_the_tree() -> None:
    drawn = [
        (match.start(1) // 4 - 1, match.group(1))
        for line in (errors.__doc__ or "").splitlines()
        if (match := re.match(r"^[ │├└─]*?([A-Z]\w+)(?=  |$)", line)) and line.startswith("    ")
    ]
    assert drawn == list(below(TagtrailError))


@each_case("cls", classes())
def test_every_error_survives_pickling_with_all_its_facts(cls: type[TagtrailError]) -> None:
    error = make(cls)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert vars(again) == vars(error)
    assert again.args == error.args
    assert str(again) == str(error)
    assert again.error_class == cls.__name__


def test_what_halts_a_run_is_what_no_waiting_mends() -> None:
    assert {cls.__name__ for cls in classes() if cls.halts} == {
        "BadKey",
        "NoCredits",
        "AccountDisabled",
        "SpendCapReached",
        "ServicePaused",
        "ValveClosed",
    }


def test_what_happened_remotely_is_kept_apart() -> None:
    unknown = {"NoAnswer", "ServerFault", "Unreadable"}
    assert {cls.__name__ for cls in MemoriesError.__subclasses__()} == {"Refused", "NotSent"} | unknown
    assert not any(issubclass(getattr(errors, name), Refused) for name in unknown)


@each_case(
    ("error", "sentence"),
    [
        (
            NoCredits("Insufficient credits", endpoint="/scraper_tag", code="0402", http_status=200),
            'the account has no credits left at /scraper_tag (code 0402): "Insufficient credits"',
        ),
        (
            refused_key("set MEMORIES_API_KEY"),
            "the API key is missing or not accepted (HTTP 401); set MEMORIES_API_KEY",
        ),
        (BadKey(endpoint="/scraper", http_status=401), "the API key is missing or not accepted at /scraper (HTTP 401)"),
        (ServerFault(code="500", http_status=500), "the API failed (code 500, HTTP 500)"),
        (NoAnswer("read timed out"), 'no answer from the API: "read timed out"'),
        (UnknownShape([]), "the payload is empty: the service says neither what the post is nor that it is gone"),
        (
            UnknownShape(list("abcdefghijklm")),
            "payload of unknown shape; its keys: a, b, c, d, e, f, g, h, i, j, k, l …",
        ),
        (
            SpendCapReached("run", 5, 4.995, 0.01),
            "the spend cap of 5.00 USD per run is reached: 4.9950 USD are spent or reserved and 0.01 USD more were "
            "wanted; raise the cap to go on",
        ),
        (UsageError("name a hashtag"), "name a hashtag"),
        (StoreError("the database is full"), "the database is full"),
    ],
)
def test_messages(error: TagtrailError, sentence: str) -> None:
    assert str(error) == sentence


def test_the_apis_words_are_one_short_line() -> None:
    error = Refused("a\n b\t\x0b c " + "long " * 200)
    assert error.message.startswith("a b c long")
    assert len(error.message) == 300
    assert error.args == (error.message,)
    assert str(Refused("\x1b[31mred\ud83d")) == 'the API refused the request: "\ufffd[31mred\ufffd"'
    assert Refused(code="\b" + "9" * 99).code == "\ufffd" + "9" * 39


def test_facts_have_defaults() -> None:
    error = TooManyRequests("slow down")
    assert (error.retry_after_seconds, error.calls, error.code, error.http_status, error.endpoint) == (
        None,
        1,
        None,
        None,
        "",
    )
