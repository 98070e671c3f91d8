"""Submissions in doubt: a run sends so many at once, and in all, that there is little to decide by hand."""

from __future__ import annotations

import asyncio

import pytest

from blocks.errors import (
    BadParameters,
    Busy,
    Duplicate,
    MemoriesError,
    NoAnswer,
    NotSent,
    ServerFault,
    TooManyRequests,
    Transient,
    Unreadable,
)
from flows.steps.imports.submit import is_safe_to_resend
from flows.steps.run.halt_switch import MAX_AMBIGUOUS, AmbiguityLimit


async def submit(limit: AmbiguityLimit, state: str | None, sent: list[str | None]) -> None:
    async with limit.place() as free:
        if free:
            sent.append(state)
            await asyncio.sleep(0)
            limit.ended(state)


async def test_as_many_go_at_once_as_may_end_in_doubt_one_after_another() -> None:
    limit, sent = AmbiguityLimit(), list[str | None]()
    await asyncio.gather(*(submit(limit, "ambiguous", sent) for _ in range(12)))
    assert (len(sent), limit.too_many) == (MAX_AMBIGUOUS, True)


@pytest.mark.parametrize("answer", ["submitted", "failed"])
async def test_an_answer_that_can_be_read_starts_the_count_anew(answer: str) -> None:
    limit, sent = AmbiguityLimit(), list[str | None]()
    for _ in range(4):
        for _ in range(MAX_AMBIGUOUS - 1):
            await submit(limit, "ambiguous", sent)
        await submit(limit, answer, sent)
    assert (len(sent), limit.too_many) == (4 * MAX_AMBIGUOUS, False)


async def test_what_was_not_sent_says_nothing() -> None:
    limit, sent = AmbiguityLimit(), list[str | None]()
    for state in ("ambiguous", None, "planned", "ambiguous", "ambiguous", "ambiguous"):
        await submit(limit, state, sent)
    assert sent == ["ambiguous", None, "planned", "ambiguous", "ambiguous"]


async def test_a_submission_that_breaks_off_gives_its_place_back() -> None:
    limit = AmbiguityLimit()
    for _ in range(2 * MAX_AMBIGUOUS):
        with pytest.raises(RuntimeError, match="broken"):
            async with limit.place():
                raise RuntimeError("broken")
    async with asyncio.timeout(5), limit.place() as free:
        assert free


@pytest.mark.parametrize(
    ("error", "safe"),
    [
        (NotSent("connection refused"), True),
        (TooManyRequests("slow down", code="0429"), True),
        (Busy("service is busy", code="0409"), True),
        (BadParameters("no", code="0001"), True),
        (BadParameters("no", code="0000"), False),
        (Transient("network abnormal", code="0001"), False),
        (Duplicate("repeated operation", code="0409"), False),
        (NoAnswer("reset"), False),
        (ServerFault("overloaded", http_status=503), False),
        (Unreadable("no envelope"), False),
    ],
)
def test_a_submission_is_sent_again_only_where_it_has_begun_nothing(error: MemoriesError, safe: bool) -> None:
    assert is_safe_to_resend(error) is safe
