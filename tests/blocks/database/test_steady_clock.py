"""On SQLite no setting of the machine's time gives slots away or takes them: all its processes share a steady clock."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from blocks.database.engine import Store
from blocks.database.store import limits, steady


def reserve(store: Store, interval: float = 60.0) -> limits.Slots:
    with store.begin() as conn:
        return limits.reserve_slots(conn, account="a", name="imports", interval_seconds=interval)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """By how much the machine's time was set, in seconds."""
    real, by = time.time, {"seconds": 0.0}
    monkeypatch.setattr(time, "time", lambda: real() + by["seconds"])
    monkeypatch.setattr(steady, "_anchors", {})
    return by


@pytest.mark.parametrize("set_by", [61.0, 3600.0, -20.0, -840.0, -86_400.0])
@pytest.mark.parametrize("same_process", [True, False])
def test_setting_the_time_changes_no_slot(
    sqlite_store: Store, wall: dict[str, float], set_by: float, same_process: bool
) -> None:
    first = reserve(sqlite_store)
    assert first.count == 1
    wall["seconds"] = set_by
    if not same_process:
        steady._anchors.clear()  # as a process that was started after it
    second = reserve(sqlite_store)
    assert (second.count, second.set_back) == (0, False)
    assert 50 < second.next_at - second.now <= 60


def test_a_pause_is_as_long_as_it_was(sqlite_store: Store, wall: dict[str, float]) -> None:
    with sqlite_store.begin() as conn:
        limits.pause(conn, account="a", name="imports", seconds=300)
    wall["seconds"] = 400
    later = reserve(sqlite_store)
    assert later.count == 0
    assert 290 < later.next_at - later.now <= 300


def test_another_boot_has_a_clock_of_its_own(
    sqlite_store: Store, wall: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve(sqlite_store)
    monkeypatch.setattr(steady, "boot", lambda: "another")
    wall["seconds"] = 3600
    before = time.time()
    assert before - 1 <= reserve(sqlite_store).now <= time.time() + 1
    wall["seconds"] = -86_400
    monkeypatch.setattr(steady, "boot", lambda: "a third")
    assert reserve(sqlite_store).set_back, "told, and not waited for"
    assert reserve(sqlite_store).count == 1


def test_a_clock_that_was_rolled_back_with_its_transaction_is_not_kept(
    sqlite_store: Store, wall: dict[str, float]
) -> None:
    with suppress(ZeroDivisionError), sqlite_store.begin() as conn:
        steady.steady_now(conn)
        raise ZeroDivisionError
    assert not steady._anchors
    before = time.time()
    assert before - 1 <= reserve(sqlite_store).now <= time.time() + 1
