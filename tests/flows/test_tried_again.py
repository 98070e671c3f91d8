"""A flow run that Prefect tries again is one run: what both tries bought and measured counts together."""

from __future__ import annotations

from typing import Any

import pytest


async def test_posts_that_the_first_try_measured_are_new_in_the_second(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As Prefect does it: the same flow run once more.
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "7d3a4c52-6a55-4b0b-9b0e-2f2d40c1e001")
    weather.play("credits-gone", after=4)
    first = await weather.track("lvmh", posts_per_task=10)
    weather.play("default")
    second = await weather.track("lvmh", posts_per_task=10)
    assert (first.run_id, first.outcome, first.new_enriched) == (second.run_id, "halted", first.enriched)
    assert 4 <= first.enriched < 10
    assert (second.enriched, second.new_enriched) == (10, 10)
    assert second.usd_per_1000_new == pytest.approx(second.cost_usd / 10 * 1000)

    monkeypatch.delenv("PREFECT__RUNTIME__FLOW_RUN__ID")
    later = await weather.track("lvmh", posts_per_task=10)
    assert (later.enriched, later.new_enriched, later.usd_per_1000_new) == (10, 0, None)
