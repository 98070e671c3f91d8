"""What a person's stop does at once, before anything is written."""

from __future__ import annotations

import logging

from blocks.errors import TagtrailError
from flows.steps.run.stops import Stop, StopListener


async def test_tasks_that_are_cut_off_by_a_stop_log_nothing_of_their_own() -> None:
    halted: list[TagtrailError] = []
    written: list[Stop] = []

    async def write(stop: Stop) -> bool:
        written.append(stop)
        return True

    log = logging.getLogger("prefect.task_runs")
    before = log.level
    listener = StopListener("r", halt=halted.append, write=write)
    listener.interrupted()
    assert halted, "buying ends at once"
    assert not log.isEnabledFor(logging.ERROR)
    await listener.settle(None)
    assert [stop.why for stop in written] == ["cancelled"]
    await listener.end()
    assert log.level == before
