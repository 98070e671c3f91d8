"""What a person's stop does at once, before anything is written."""

from __future__ import annotations

import asyncio
import logging
import signal

import pytest
from prefect.exceptions import TerminationSignal

from flows.steps.run.halt_switch import HaltSwitch
from flows.steps.run.lifecycle import open_run
from flows.steps.run.stops import StopListener


async def test_tasks_that_are_cut_off_by_a_stop_log_nothing_of_their_own() -> None:
    notes: list[str] = []
    halt = HaltSwitch(notes.append)
    written: list[str] = []

    async def write(by: str, why: str) -> bool:
        written.append(why)
        return True

    log = logging.getLogger("prefect.task_runs")
    before = log.level
    listener = StopListener("r", halt=halt, write=write)
    listener.interrupted()
    assert halt.cut_off is not None, "buying ends at once"
    assert not log.isEnabledFor(logging.ERROR)
    await listener.settle(None)
    assert written == ["cancelled"]
    await listener.end()
    assert log.level == before


async def test_a_worker_s_signal_reaches_prefect_as_itself_whichever_task_received_it() -> None:
    """Prefect ends a cancelled run as Cancelled by the signal; a group of errors is a fault to it."""

    async def received() -> None:
        raise TerminationSignal(signal.SIGTERM)

    with pytest.raises(TerminationSignal):
        async with open_run("enrich-posts"), asyncio.TaskGroup() as group:
            group.create_task(received())
