"""The rows that reserve time: slots one interval apart, whoever asks, and pauses that hold for all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.database.store import rate_limits

NOW = 1_800_000_000.0


def reserve(store: Store, *, now: float | None = NOW, **more: Any) -> rate_limits.Slots:
    asked = {"account": "a", "name": "status", "interval_seconds": 1.0, "now": now, **more}
    with store.begin() as conn:
        return rate_limits.reserve_slots(conn, **asked)


def pause(store: Store, seconds: float, *, now: float | None = NOW) -> float:
    with store.begin() as conn:
        return rate_limits.pause(conn, account="a", name="status", seconds=seconds, now=now)


def test_slots_lie_one_interval_apart(store: Store) -> None:
    assert reserve(store, ahead_seconds=5).first_at == NOW
    second = reserve(store, ahead_seconds=5, now=NOW + 0.2)
    assert (second.count, second.first_at, second.next_at) == (1, NOW + 1, NOW + 2)
    block = reserve(store, ahead_seconds=5, count=3, now=NOW + 0.2)
    assert (block.count, block.first_at, block.next_at) == (3, NOW + 2, NOW + 5)


def test_a_slot_too_far_ahead_is_not_reserved_and_its_time_is_told(store: Store) -> None:
    reserve(store)
    refused = reserve(store, now=NOW + 0.25)
    assert (refused.count, refused.next_at - refused.now) == (0, 0.75)
    assert reserve(store, now=NOW + 1).first_at == NOW + 1, "the refused call must not have moved the row"


def test_a_slot_missed_by_less_than_allowed_is_used_late_and_by_more_is_dropped(store: Store) -> None:
    reserve(store)
    assert reserve(store, now=NOW + 1.5, late_seconds=1.0).first_at == NOW + 1
    assert reserve(store, now=NOW + 3.5, late_seconds=1.0).first_at == NOW + 3.5, "missed slots are not made up"
    assert reserve(store, now=NOW + 4, late_seconds=1.0).count == 0


def test_accounts_and_limits_do_not_touch_each_other(store: Store) -> None:
    assert reserve(store).count == 1
    assert reserve(store, account="b").count == 1
    assert reserve(store, name="imports").count == 1
    assert reserve(store).count == 0


def test_the_database_keeps_time_by_itself(store: Store) -> None:
    first = reserve(store, now=None, interval_seconds=30.0)
    second = reserve(store, now=None, interval_seconds=30.0)
    assert first.now > 1_700_000_000
    assert second.count == 0
    assert 25 < second.next_at - second.now <= 30


def test_threads_never_share_a_slot(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda _: reserve(store, ahead_seconds=1000), range(60)))
    assert sorted(slot.first_at for slot in got) == [NOW + number for number in range(60)]


def test_a_pause_moves_the_next_slot_and_a_shorter_one_does_not_move_it_back(store: Store) -> None:
    assert pause(store, 30) == 30
    assert pause(store, 5, now=NOW + 1) == 29
    assert reserve(store, now=NOW + 29).count == 0
    assert reserve(store, now=NOW + 30).first_at == NOW + 30


@pytest.mark.parametrize(("asked", "kept"), [(900.0, 900.0), (864_000.0, 864_000.0), (-3.0, 0.0)])
def test_a_pause_is_as_long_as_was_asked_for(store: Store, asked: float, kept: float) -> None:
    assert pause(store, asked) == kept


def test_a_long_pause_says_that_it_is_one_and_ends_by_itself(store: Store) -> None:
    reserve(store)
    assert pause(store, 7200) == 7200
    assert reserve(store, now=NOW + 60).paused
    assert reserve(store, now=NOW + 7199).count == 0
    assert reserve(store, now=NOW + 7200).first_at == NOW + 7200


def test_a_row_that_lies_too_far_ahead_without_a_pause_stops_nobody_for_long(store: Store) -> None:
    """From a rate of once a day, or a clock that was set back by a day."""
    reserve(store, interval_seconds=86_400)
    opened = reserve(store)
    assert (opened.count, opened.next_at, opened.paused) == (0, NOW, False)
    assert reserve(store).count == 1


def test_what_the_server_taught_is_told_with_every_slot_and_forgotten_after_an_hour(store: Store) -> None:
    def learn(interval: float, now: float) -> None:
        with store.begin() as conn:
            rate_limits.pause(conn, account="a", name="status", seconds=0, learned_interval=interval, now=now)

    assert reserve(store).learned_interval is None
    learn(1.5, NOW)
    learn(1.2, NOW + 1)
    assert reserve(store, now=NOW + 5).learned_interval == 1.5, "a gentler lesson does not undo a harder one"
    later = NOW + rate_limits.LEARNED_SECONDS + 1
    assert reserve(store, now=later).learned_interval is None
    learn(1.1, later)
    assert reserve(store, now=later).learned_interval == 1.1
