"""What a person's stop does at once, before anything is written."""

from __future__ import annotations

import asyncio
import logging
import signal

import pytest
from prefect.exceptions import TerminationSignal

from flows.steps.run.halt_switch import HaltSwitch, Stopped
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


@pytest.mark.parametrize("ticks", range(6))
async def test_a_cancellation_is_heard_also_at_the_moment_at_which_the_run_is_halted(ticks: int) -> None:
    halt = HaltSwitch(lambda _: None)
    waiting = asyncio.create_task(halt.pause(60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    halt.pull(Stopped("by a person"))
    for _ in range(ticks):
        await asyncio.sleep(0)
    is_over = waiting.done()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled() or is_over
