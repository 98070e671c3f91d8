"""What is done about each class of error, as one table over the whole tree."""

from __future__ import annotations

from typing import Any

import pytest

from blocks import errors
from blocks.errors import MemoriesError, SpendCapReached, StoreError, TagtrailError, UnknownShape, UsageError
from blocks.posts.record import CHANNELS
from flows.steps.enrichment.verdict import (
    MAX_RETRIES,
    PATIENCE,
    counted_as,
    patience_with,
    retry_delays_seconds,
    says_channel_cannot,
    surely_unbilled,
)

# Class: how many calls in all, whether the channel is to blame, whether the call may have been billed.
TABLE: dict[str, tuple[int, bool, bool]] = {
    "BadParameters": (1, False, False),
    "BadKey": (1, False, False),
    "NoCredits": (1, False, False),
    "AccountDisabled": (1, False, False),
    "PermissionDenied": (2, False, False),  # By the status alone; see below.
    "Duplicate": (1, False, False),
    "NotFound": (1, False, False),
    "Refused": (1, False, False),
    "TooManyRequests": (10, False, False),
    "Busy": (6, True, False),
    "Transient": (4, True, False),
    "NotSent": (5, True, False),
    "ServerFault": (4, True, True),
    "NoAnswer": (3, True, True),
    "Unreadable": (3, True, True),
}


def classes_of(base: type[Any]) -> set[type[Any]]:
    return {base}.union(*(classes_of(each) for each in base.__subclasses__()))


def test_the_table_names_every_error_of_the_api() -> None:
    assert set(TABLE) == {each.__name__ for each in classes_of(MemoriesError)} - {"MemoriesError"}


@pytest.mark.parametrize("name", TABLE)
def test_each_class_has_its_patience(name: str) -> None:
    calls, blamed, may_be_billed = TABLE[name]
    error: MemoriesError = getattr(errors, name)("words")
    patience = patience_with(error)
    assert (patience.calls, patience.blames_channel) == (calls, blamed)
    assert surely_unbilled(error) is not may_be_billed
    assert says_channel_cannot(error) is not error.halts
    if type(error) in PATIENCE:
        assert patience.maybe_billed is may_be_billed


def test_permission_denied_by_a_business_code_is_final_at_once() -> None:
    assert patience_with(errors.PermissionDenied("x", http_status=403)).calls == 2
    assert patience_with(errors.PermissionDenied("x", code="9009", http_status=403)).calls == 1


def test_lost_and_unreadable_answers_are_counted_together() -> None:
    assert counted_as(errors.NoAnswer("x")) == counted_as(errors.Unreadable("x"))
    assert counted_as(errors.Busy("x")) != counted_as(errors.Transient("x"))


@pytest.mark.parametrize(
    "error", [UsageError("x"), StoreError("x"), UnknownShape([]), SpendCapReached("run", 1, 1, 1), TagtrailError("x")]
)
def test_what_is_no_word_of_the_api_is_never_tried_again_nor_on_another_channel(error: TagtrailError) -> None:
    assert patience_with(error).calls == 1
    assert not says_channel_cannot(error)


def test_waits_double_up_to_32_times_the_first() -> None:
    waits = retry_delays_seconds(0.5)
    assert waits == [0.5, 1, 2, 4, 8, 16]
    assert set(retry_delays_seconds(0)) == {0}


def test_a_task_is_retried_often_enough_for_every_patience_on_every_channel() -> None:
    # The worst post fails in all ways in turn, so that each kind but one stops short of its last call. Too many
    # requests are waited for inside the task; all others end the try.
    kinds = {counted_as(kind("x")): each for kind, each in PATIENCE.items() if kind is not errors.TooManyRequests}
    tries = sum(each.calls - 1 for each in kinds.values()) + 1
    assert tries * len(CHANNELS) <= MAX_RETRIES
