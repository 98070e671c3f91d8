"""A wait that is too long for a run ends it, and nobody asks again before it is over."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.sandbox.answers import Answer
from deployments.sandbox.faults import ServedCall

BODY = b'{"code":429,"msg":"Rate limit exceeded","data":null}'


@pytest.mark.parametrize(
    ("call", "limit", "status", "wait"),
    [
        ("submit", "imports", 429, b"7200"),
        ("status", "status", 429, b"7200"),
        ("metadata", "metadata/apify", 429, b"7200"),
        ("submit", "imports", 503, b"99999999999999999999"),
    ],
)
async def test_a_long_wait_halts_the_run_with_the_time_to_come_back(
    call: str, limit: str, status: int, wait: bytes, weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(which: str, key: str, number: int, served: ServedCall) -> Answer:
        if which != call:
            return served.serve()
        asked.append(key)
        return Answer(status, BODY, "wait", headers=((b"retry-after", wait),))

    weather.sandbox.answer_by(answer)
    monkeypatch.setenv("TAGTRAIL_IN_FLIGHT", "1")
    summary = await weather.track("lvmh", posts_per_hashtag=3)
    assert (summary.outcome, summary.exit_status) == ("halted", 4)
    assert f"no more calls ({limit}) before 2" in summary.message
    assert len(asked) == 1
    again = await weather.track("dior", posts_per_hashtag=3)
    assert again.exit_status == 4
    assert len(asked) == 1, "another run, another hashtag: the whole account waits"
