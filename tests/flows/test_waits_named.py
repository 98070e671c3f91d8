"""A server that names a wait moves the next call of all the account, whatever else it says."""

from __future__ import annotations

import time
from typing import Any

import pytest

from deployments.sandbox.answers import Answer
from deployments.sandbox.faults import ServedCall

WAIT: tuple[tuple[bytes, bytes], ...] = ((b"retry-after", b"2"),)


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (503, b"<html>down</html>", "ambiguous"),
        (409, b'{"code":409,"msg":"Service is busy, try later"}', "complete"),
        (409, b'{"code":409,"msg":"Repeated operation."}', "ambiguous"),
        (429, b'{"code":429,"msg":"Too many requests"}', "complete"),
    ],
)
async def test_a_submission_that_names_a_wait_moves_the_next_one(
    weather: Any, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, state: str
) -> None:
    answered: list[float] = []

    def answer(call: str, key: str, number: int, served: ServedCall) -> Answer:
        if call != "submit":
            return served.serve()
        answered.append(time.monotonic())
        return Answer(status, body, "down", headers=WAIT) if len(answered) == 1 else served.serve()

    weather.sandbox.answer_by(answer)
    monkeypatch.setenv("TAGTRAIL_IMPORTS_PER_MINUTE", "90")
    summary = await weather.track("one", "two", posts_per_hashtag=2)
    assert sorted(one.state for one in summary.imports) == sorted([state, "complete"])
    assert answered[1] - answered[0] > 1.9, "without the wait: 0.67 s"
