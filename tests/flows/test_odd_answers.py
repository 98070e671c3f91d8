"""Answers that contradict the contract, or themselves: what is paid for is taken, nothing is sent twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from blocks.database.store import failures, import_planning
from deployments.sandbox.answers import Answer
from deployments.sandbox.faults import ServedCall

Inject = Callable[[str, str, int, ServedCall], Answer]


def said(body: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode(), "odd")


def on_submission(weather: Any, answer: Answer) -> list[str]:
    """Answer the first submission of each request so, and nothing is started; the requests as they were submitted."""
    asked: list[str] = []

    def inject(call: str, key: str, number: int, served: ServedCall) -> Answer:
        if call != "submit":
            return served.serve()
        asked.append(key)
        return answer if asked.count(key) == 1 else served.serve()

    weather.sandbox.answer_by(inject)
    return asked


async def test_odd_items_hide_none_of_the_others(weather: Any) -> None:
    odd = [{"status": "FAILED", "cause": "decode error"}, {}, True, 1.5, {"video_url": {"href": "x"}}]

    def inject(call: str, key: str, number: int, served: ServedCall) -> Answer:
        answer = served.serve()
        if call != "status":
            return answer
        body = json.loads(answer.body)
        body["data"]["videos"] += odd
        return replace(answer, body=json.dumps(body).encode())

    weather.sandbox.answer_by(inject)
    summary = await weather.track("lvmh", posts_per_hashtag=3)
    assert (summary.requested, summary.enriched, summary.failed, summary.exit_status) == (8, 3, 5, 3)
    assert summary.failures == {"UnreadableItem": 5}
    again = await weather.track("lvmh", posts_per_hashtag=3)
    assert (again.requested, again.enriched, again.failed) == (8, 3, 5)
    assert weather.submissions() == {"hashtag:lvmh": 1}
    with weather.store() as store, store.connect() as conn:
        assert len([row for row in failures.find(conn) if row.raw_sha256]) == 5


async def test_an_import_that_cannot_be_read_is_told_kept_and_can_be_dropped(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inject(call: str, key: str, number: int, served: ServedCall) -> Answer:
        return said({"code": "0000", "data": True}) if call == "status" else served.serve()

    weather.sandbox.answer_by(inject)
    monkeypatch.setenv("TAGTRAIL_IMPORT_DEADLINE_SECONDS", "0.5")
    summary = await weather.track("lvmh", posts_per_hashtag=3)
    [one] = summary.imports
    assert summary.exit_status == 3
    assert any(f"resolve {one.import_id} --drop" in note for note in summary.notes), summary.notes
    with weather.store() as store:
        with store.connect() as conn:
            [row] = failures.find(conn, stages=["poll"])
        assert row.import_id == one.import_id
        with store.begin() as conn:
            assert import_planning.resolve(conn, one.import_id, "drop")


@pytest.mark.parametrize(
    "body",
    [
        {"code": "0000", "success": False, "msg": "busy day: your task was accepted"},
        {"code": "0000", "success": False, "msg": "Service is busy, try later"},
        {"code": 200, "success": False, "msg": "Rate limit exceeded"},
        {"code": "0000", "failed": True, "msg": "no credits were needed", "data": {"taskId": "x"}},
        {"code": "0409", "msg": "busy day: your task was accepted"},
    ],
)
async def test_only_refusals_that_the_contract_knows_are_sent_again(body: dict[str, Any], weather: Any) -> None:
    asked = on_submission(weather, said(body))
    summary = await weather.track("lvmh", posts_per_hashtag=3)
    assert [one.state for one in summary.imports] == ["ambiguous"]
    assert asked == ["hashtag:lvmh"]
    assert summary.exit_status == (4 if "credits" in body["msg"] else 3)
    await weather.track("lvmh", posts_per_hashtag=3)
    assert asked == ["hashtag:lvmh"], "nor does the next run send it"


@pytest.mark.parametrize(
    "answer",
    [
        said({"code": "0409", "msg": "Service is busy, try later"}),
        said({"code": 429, "msg": "Rate limit exceeded", "data": None}, 429),
        said({"code": "0429", "msg": "Request has exceeded the limit."}),
    ],
)
async def test_known_refusals_are(answer: Answer, weather: Any) -> None:
    asked = on_submission(weather, answer)
    summary = await weather.track("lvmh", posts_per_hashtag=3)
    assert [one.state for one in summary.imports] == ["complete"]
    assert asked == ["hashtag:lvmh"] * 2


async def test_a_repeated_operation_looks_for_the_running_import_first(weather: Any) -> None:
    first = await weather.track("lvmh", posts_per_hashtag=3, wait=False)
    asked = on_submission(weather, said({"code": "0409", "msg": "Repeated operation."}))
    summary = await weather.track("lvmh", posts_per_hashtag=3, fresh=True)
    assert asked == ["hashtag:lvmh"]
    assert {one.import_id: one.state for one in summary.imports}[first.imports[0].import_id] == "complete"
    assert sorted(one.state for one in summary.imports) == ["complete", "dropped"]
    assert (summary.requested, summary.enriched, summary.exit_status) == (3, 3, 0)


async def test_a_repeated_operation_that_nobody_knows_is_in_doubt(weather: Any) -> None:
    asked = on_submission(weather, said({"code": "0409", "msg": "Repeated operation."}))
    summary = await weather.track("lvmh", posts_per_hashtag=3)
    assert [one.state for one in summary.imports] == ["ambiguous"]
    assert asked == ["hashtag:lvmh"]
