"""Submissions in doubt: a run sends so many at once, and in all, that there is little to decide by hand."""

from __future__ import annotations

import asyncio

import pytest

from flows.steps.imports.ambiguity_limit import MOST_DOUBTS, Doubts


async def submit(doubts: Doubts, state: str | None, sent: list[str | None]) -> None:
    async with doubts.place() as free:
        if free:
            sent.append(state)
            await asyncio.sleep(0)
            doubts.ended(state)


async def test_as_many_go_at_once_as_may_end_in_doubt_one_after_another() -> None:
    doubts, sent = Doubts(), list[str | None]()
    await asyncio.gather(*(submit(doubts, "ambiguous", sent) for _ in range(12)))
    assert (len(sent), doubts.too_many) == (MOST_DOUBTS, True)


@pytest.mark.parametrize("answer", ["submitted", "failed"])
async def test_an_answer_that_can_be_read_starts_the_count_anew(answer: str) -> None:
    doubts, sent = Doubts(), list[str | None]()
    for _ in range(4):
        for _ in range(MOST_DOUBTS - 1):
            await submit(doubts, "ambiguous", sent)
        await submit(doubts, answer, sent)
    assert (len(sent), doubts.too_many) == (4 * MOST_DOUBTS, False)


async def test_what_was_not_sent_says_nothing() -> None:
    doubts, sent = Doubts(), list[str | None]()
    for state in ("ambiguous", None, "planned", "ambiguous", "ambiguous", "ambiguous"):
        await submit(doubts, state, sent)
    assert sent == ["ambiguous", None, "planned", "ambiguous", "ambiguous"]


async def test_a_submission_that_breaks_off_gives_its_place_back() -> None:
    doubts = Doubts()
    for _ in range(2 * MOST_DOUBTS):
        with pytest.raises(RuntimeError, match="broken"):
            async with doubts.place():
                raise RuntimeError("broken")
    async with asyncio.timeout(5), doubts.place() as free:
        assert free
