"""When a run looks whether it still holds what it claimed."""

from __future__ import annotations

from typing import cast

import pytest

from blocks.database.engine import Store
from flows.steps.run import lease_health
from flows.steps.run.lease_health import MAX_UNRENEWED_SECONDS, LeaseHealth


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(lease_health, "awake_seconds", lambda: now[0])
    return now


def health() -> LeaseHealth:
    """Of a run that never asks its database."""
    return LeaseHealth(cast(Store, None))


def test_what_is_renewed_in_time_is_held(clock: list[float]) -> None:
    held = health()
    for _ in range(5):
        clock[0] += 5
        held.renewed()
    assert not held.may_be_lost(claimed_at=1000.0)


def test_what_was_renewed_long_ago_may_be_lost_until_it_was_looked_at(clock: list[float]) -> None:
    held = health()
    clock[0] += MAX_UNRENEWED_SECONDS + 0.1
    assert held.may_be_lost(claimed_at=1000.0)
    assert not held.may_be_lost(claimed_at=clock[0])


def test_a_renewal_that_came_too_late_does_not_clear_what_was_claimed_before_it(clock: list[float]) -> None:
    held = health()
    clock[0] += 60
    held.renewed()
    assert held.may_be_lost(claimed_at=1000.0)
    clock[0] += 1
    assert not held.may_be_lost(claimed_at=clock[0])
    held.renewed()
    assert held.may_be_lost(claimed_at=1000.0), "also after the next renewal"
