"""SIGKILL at every committed step of a run, and at moments drawn by lot: a rerun ends as if nothing had happened."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.soak

IN_DOUBT = {
    # Between the commit that says "sending" and the one that has the answer, nobody can know what the API did.
    "mark_sending:after:1": "sending is written, nothing sent",
    "submit:before:1": "before the submission",
    "submit:head:1": "the submission's answer begins",
    "submit:answered:1": "submission answered, answer not written",
    "mark_submitted:inside:1": "while the answer is written",
}

BOUGHT_AGAIN = {
    # An answer that was not stored has to be bought again.
    "metadata:head:5": "metadata's answer begins",
    "metadata:answered:5": "metadata answered, nothing stored",
    "save_raw:before:6": "before the raw answer is stored",
    "save_raw:inside:3": "while the raw answer is stored",
}

STEPS = {
    "start_run:after:1": "the run is written",
    "plan_import:inside:2": "while the second import is planned",
    "plan_import:after:1": "the first import is planned",
    "reserve_calls:after:1": "the import's money is reserved",
    "mark_sending:inside:1": "while sending is written",
    "mark_submitted:after:1": "the first import is submitted",
    "lease_import:after:1": "the import's lease is taken",
    "status:before:3": "before a poll",
    "status:answered:2": "poll answered, answer not written",
    "record_poll:inside:2": "while a poll's answer is written",
    "record_poll:after:3": "a poll's answer is written",
    "claim:inside:1": "while posts are claimed",
    "claim:after:1": "posts are claimed",
    "reserve_calls:after:3": "money for metadata is reserved",
    "metadata:before:6": "before a metadata call",
    "save_raw:after:4": "the raw answer is stored",
    "map_post:before:9": "before a payload is parsed",
    "save_posts:inside:3": "while a post is stored",
    "save_posts:after:2": "a post is stored",
    "end_import:inside:1": "while an import is finished",
    "end_import:after:2": "both imports are finished",
    "finish_run:before:1": "before the run's end is written",
    "finish_run:after:1": "the run's end is written",
}


@pytest.mark.parametrize("point", STEPS)
def test_a_killed_run_is_finished_by_the_next(scene: Any, judge: Callable[[str, Any], Any], point: str) -> None:
    assert scene.kill(point=point)
    result = judge(STEPS[point], scene.settle())
    assert result.doubts <= 1, "only the other import can have been on its way"


@pytest.mark.parametrize("point", BOUGHT_AGAIN)
def test_what_was_in_flight_may_be_bought_again(scene: Any, judge: Callable[[str, Any], Any], point: str) -> None:
    assert scene.kill(point=point)
    result = judge(BOUGHT_AGAIN[point], scene.settle())
    assert 1 <= result.twice <= result.in_flight, "an answer that nobody stored was there to be lost"


@pytest.mark.parametrize("point", IN_DOUBT)
def test_a_submission_in_doubt_waits_for_a_decision(scene: Any, judge: Callable[[str, Any], Any], point: str) -> None:
    assert scene.kill(point=point)
    result = judge(IN_DOUBT[point], scene.settle())
    assert result.doubts >= 1


@pytest.mark.parametrize("seed", range(6))
def test_kills_at_any_moment(scene: Any, judge: Callable[[str, Any], Any], seed: int) -> None:
    after_seconds = random.Random(seed).uniform(0.2, 2.6)
    scene.kill(kill_after_seconds=after_seconds)
    judge(f"at any moment ({after_seconds:.2f} s)", scene.settle())


def test_reruns_that_are_killed_too(scene: Any, judge: Callable[[str, Any], Any]) -> None:
    points = (
        "plan_import:after:2",
        "record_poll:after:1",
        "save_raw:after:3",
        "metadata:answered:3",
        "save_posts:inside:2",
    )
    for point in points:
        assert scene.kill(point=point)
        assert not scene.database.ambiguous(), f"nothing was being sent at {point}"
    judge("five runs in a row", scene.settle())
