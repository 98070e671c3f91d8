"""The three clocks: when an import is complete or empty, and how long to wait between polls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from blocks.completion import Clocks, Said, finished_state, next_poll_seconds, overdue
from tests.cases import each_case

T0 = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def state(now: float, **facts: Any) -> str | None:
    """Facts that end in `_at` are seconds after the submission; quiet time 120 s, deadline 900 s."""
    facts = {"last_polled_at": now, **facts}
    times = {name: at(value) for name, value in facts.items() if name.endswith("_at") and value is not None}
    clocks = Clocks(since=T0, requested=10, **{**facts, **times})
    return finished_state(clocks, at(now), quiet_seconds=120, deadline_seconds=900)


def test_complete_once_everything_is_listed() -> None:
    assert state(5, seen=10, first_item_at=5, last_new_at=5) == "complete"
    assert state(5, seen=11, first_item_at=5, last_new_at=5) == "complete"
    assert state(5, seen=9, first_item_at=5, last_new_at=5) is None


def test_a_new_look_ends_by_none_of_the_polls_before_it() -> None:
    assert state(500, last_polled_at=-1, seen=10, first_item_at=-30, last_new_at=-30) is None
    assert state(500, last_polled_at=-1, seen=4, first_item_at=-300, last_new_at=-300, quiet_polls=3) is None


def test_an_item_whose_url_has_not_come_is_waited_for() -> None:
    assert state(5, seen=10, without_url=1, first_item_at=5, last_new_at=5) is None
    assert state(130, seen=10, without_url=1, first_item_at=5, last_new_at=5, quiet_polls=3) == "complete"


def test_nothing_is_quiet_before_the_first_item() -> None:
    assert state(899, quiet_polls=50) is None
    assert state(900, quiet_polls=50) == "empty"


@each_case(("now", "quiet_polls", "expected"), [(125, 3, "complete"), (124, 3, None), (125, 2, None)])
def test_quiet_needs_time_and_three_answered_polls(now: float, quiet_polls: int, expected: str | None) -> None:
    assert state(now, seen=4, first_item_at=2, last_new_at=5, quiet_polls=quiet_polls) == expected


def test_time_without_answers_is_no_quiet_time() -> None:
    facts = {"seen": 4, "first_item_at": 2, "last_new_at": 5, "quiet_polls": 3, "last_polled_at": 20}
    assert state(600, **facts) is None


def test_the_deadline_ends_with_items_as_complete() -> None:
    assert state(900, seen=4, first_item_at=2, last_new_at=899) == "complete"


def test_the_deadline_needs_an_answer_after_it() -> None:
    assert state(5000, last_polled_at=800) is None
    assert state(5000, last_polled_at=None) is None
    clocks = Clocks(since=T0, requested=10, last_polled_at=at(800))
    assert overdue(clocks, at(900), deadline_seconds=900)
    assert not overdue(clocks, at(899), deadline_seconds=900)


def test_a_poll_from_before_a_new_look_decides_nothing() -> None:
    clocks = Clocks(since=T0, requested=10, last_polled_at=at(-1))
    assert finished_state(clocks, at(2000), quiet_seconds=120, deadline_seconds=900) is None


def test_waits_grow_to_thirty_seconds_and_start_anew() -> None:
    waits = [next_poll_seconds(quiet, 5, jitter=0) for quiet in range(8)]
    assert waits == [5, 7.5, 11.25, 16.875, 25.3125, 30, 30, 30]
    assert next_poll_seconds(10**6, 5, jitter=0) == 30
    assert next_poll_seconds(0, 60, jitter=0) == next_poll_seconds(9, 60, jitter=0) == 60
    assert next_poll_seconds(5, 0, jitter=1) == 0


@given(quiet=st.integers(0, 10_000), first=st.floats(0, 100), jitter=st.floats(0, 1))
def test_jitter_only_shortens_and_never_by_more_than_a_fifth(quiet: int, first: float, jitter: float) -> None:
    full = next_poll_seconds(quiet, first, jitter=0)
    assert 0.8 * full - 1e-9 <= next_poll_seconds(quiet, first, jitter=jitter) <= full <= max(30, first)


def after(
    now: float, quiet_polls: int, *, said_at: float = 6, succeeded: bool = True, **facts: Any
) -> Literal["complete", "empty"] | None:
    """Like `state`, with a callback that came at second `said_at`, and so many quiet polls asked after it."""
    times = {name: at(value) for name, value in facts.items() if name.endswith("_at")}
    clocks = Clocks(since=T0, requested=10, last_polled_at=at(now), **{**facts, **times})
    said = Said(succeeded, at(said_at), quiet_polls)
    return finished_state(clocks, at(now), quiet_seconds=120, deadline_seconds=900, said=said)


@each_case("succeeded", [True, False])
@each_case(("now", "quiet_polls", "expected"), [(35, 2, "complete"), (34, 2, None), (35, 1, None), (100, 1, None)])
def test_with_items_a_callback_makes_the_quiet_time_short(
    now: float, quiet_polls: int, expected: str | None, succeeded: bool
) -> None:
    facts = {"seen": 4, "first_item_at": 2, "last_new_at": 5}
    assert after(now, quiet_polls, succeeded=succeeded, **facts) == expected


def test_success_without_any_item_changes_nothing() -> None:
    assert after(899, 50) is None
    assert after(900, 50) == "empty"


@each_case(("now", "quiet_polls", "expected"), [(126, 3, "empty"), (125, 3, None), (126, 2, None)])
def test_after_failure_an_import_is_empty_once_the_quiet_time_is_over(
    now: float, quiet_polls: int, expected: str | None
) -> None:
    assert after(now, quiet_polls, succeeded=False) == expected


def test_a_later_look_after_failure_lasts_the_quiet_time_again() -> None:
    assert after(119, 50, said_at=-3600, succeeded=False) is None
    assert after(120, 3, said_at=-3600, succeeded=False) == "empty"


def test_failure_is_not_believed_against_items() -> None:
    assert after(5, 0, succeeded=False, seen=10, first_item_at=5, last_new_at=5) == "complete"
