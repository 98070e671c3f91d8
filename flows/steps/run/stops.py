"""A person's stop: it is heard, nothing new is begun, and it is written down before anything is waited for.

Whoever started a run from a command line (or a script) stops it by a signal, or cancels its flow run in Prefect. What a
worker started is ended by the worker's SIGTERM, whatever the reason: Prefect knows whether somebody cancelled it.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal

from blocks.errors import StoreError
from flows.steps.run.halt_switch import EnduringTask, HaltSwitch, Interrupted, Stopped, wait_even_if_cancelled

SIGNALS = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",
    getattr(signal, "SIGHUP", signal.SIGTERM): "a closed terminal (SIGHUP)",
}

LOOK_SECONDS = 5.0
"""How often a run looks whether its flow run was cancelled in Prefect."""

ANSWER_SECONDS = 10.0
"""So long the Prefect server and the database may take; the run ends all the same."""

CANCELLED = (StateType.CANCELLING, StateType.CANCELLED)

_TASK_LOG = logging.getLogger("prefect.task_runs")

WORKERS_RUN = "PREFECT__FLOW_RUN_ID"
"""Set where a worker started the process; its SIGTERM is Prefect's, whose cancellation needs a handler of its own."""

IN_PREFECT = "somebody in Prefect"

Said = Literal["cancelled", "goes on", "no answer"]


async def states_of(client: PrefectClient, run_ids: list[str]) -> dict[str, FlowRun]:
    """The flow runs that Prefect knows of these; its own errors where it cannot be asked."""
    ids = [UUID(run_id) for run_id in run_ids if _is_uuid(run_id)]
    if not ids:
        return {}
    found = await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)), limit=len(ids))
    return {str(run.id): run for run in found}


def _is_uuid(text: str) -> bool:
    with suppress(ValueError):
        return str(UUID(text)) == text
    return False


class StopListener:
    """Hears of a person's stop of one run. `halt` ends all buying at once, `write` keeps who stopped it, and how."""

    def __init__(self, run_id: str, *, halt: HaltSwitch, write: Callable[[str, str], Awaitable[bool]]) -> None:
        self.is_written = False
        """Whether there was a stop, and it is written."""
        self.signal: int | None = None
        """The signal that ended the run."""
        self.undecided = False
        """The run was cut off, and Prefect did not say whether by a person."""
        self._run_id, self._halt, self._write_down = run_id, halt, write
        self._flow: asyncio.Task[Any] | None = None
        self._under_way: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._workers_run = os.environ.get(WORKERS_RUN)
        self._task_log_level = _TASK_LOG.level

    def begin(self) -> None:
        """Listen from now on, in the task that runs the flow."""
        self._flow = asyncio.current_task()
        if self._workers_run is None:
            _hear_signals(self)
        if FlowRunContext.get() is not None:
            self._looking = asyncio.create_task(self._keep_looking())

    async def end(self) -> None:
        _hear_no_more(self)
        _TASK_LOG.setLevel(self._task_log_level)
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking

    def heard(self, number: int) -> None:
        """A signal: the stop is written, and then the flow is cancelled; a second signal cancels it at once."""
        if self.signal is not None:
            self._cancel()
            return
        self.signal = number
        why = SIGNALS[signal.Signals(number)]
        self._end_buying(Stopped(why))
        self._under_way = EnduringTask(self._stop_and_cancel(why))

    def interrupted(self) -> None:
        """The flow was cancelled, by whatever: find out whether a person did so, while others wait for answers."""
        if self._under_way is None and not self.is_written:
            self._end_buying(Interrupted(CUT_OFF))
            self._under_way = EnduringTask(self._judge())

    async def settle(self, error: BaseException | None) -> None:
        """Before the run is closed: what ended it is known, and a stop is written."""
        if _cut_off(error):
            self.interrupted()
        if self._under_way is not None:
            await wait_even_if_cancelled(self._under_way, 2 * ANSWER_SECONDS)

    def _end_buying(self, error: Stopped | Interrupted) -> None:
        # Each task in flight would log two red lines of its own; the run's end says it once.
        _TASK_LOG.setLevel(logging.CRITICAL)
        self._halt.cut(error)

    def _cancel(self) -> None:
        if self._flow is not None:
            self._flow.cancel()

    async def _stop_and_cancel(self, why: str) -> None:
        await self._write(_person(), why)
        self._cancel()

    async def _judge(self) -> None:
        if self._workers_run is None:
            await self._write(_person(), "cancelled")
            return
        said = await self._ask()
        self.undecided = said == "no answer"
        if said == "cancelled":
            await self._write(IN_PREFECT, "cancelled in Prefect")

    async def _keep_looking(self) -> None:
        while not self.is_written:
            await asyncio.sleep(LOOK_SECONDS)
            if await self._ask() == "cancelled":
                self._end_buying(Stopped("cancelled in Prefect"))
                await self._write(IN_PREFECT, "cancelled in Prefect")

    async def _ask(self) -> Said:
        """What Prefect says of this very run, and of the worker's run that it may be a part of."""
        ids = dict.fromkeys([self._run_id, self._workers_run or self._run_id])
        try:
            async with asyncio.timeout(ANSWER_SECONDS), get_client() as client:
                found = await states_of(client, list(ids))
        except Exception:  # noqa: BLE001 - whatever keeps the server from answering
            return "no answer"
        return "cancelled" if any(run.state_type in CANCELLED for run in found.values()) else "goes on"

    async def _write(self, by: str, why: str) -> None:
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                if await self._write_down(by, why):
                    self.is_written = True
                    self._halt.pull(Stopped(why))


CUT_OFF = "cut off from outside; the sweep (collect-imports/sweep) takes up what is left"


def termination_in(error: BaseException | None) -> TerminationSignal | None:
    """The worker's signal, also where a task in flight received it and the group of tasks wrapped it."""
    if isinstance(error, TerminationSignal):
        return error
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return next((found for one in inner if (found := termination_in(one)) is not None), None)


def _cut_off(error: BaseException | None) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_cut_off(one) for one in error.exceptions)
    return isinstance(error, asyncio.CancelledError | KeyboardInterrupt | TerminationSignal)


def _person() -> str:
    """Who is at this machine's keyboard, as far as it is known; for the database, never for Prefect."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = "somebody"
    return f"{name}@{socket.gethostname().partition('.')[0]}"


_listeners: set[StopListener] = set()
_before: dict[int, Any] = {}
"""What each signal led to before; it gets it back with the last run's end."""


def _hear_signals(listener: StopListener) -> None:
    """Have a run hear this process's signals, but for those that are ignored (nohup), and only in the main thread."""
    loop = asyncio.get_running_loop()
    if not _listeners:
        for number in SIGNALS:
            before = signal.getsignal(number)
            # Outside the main thread, and on event loops without signals, nothing is heard here: the caller cancels.
            with suppress(ValueError, RuntimeError, NotImplementedError):
                if before is not signal.SIG_IGN:
                    loop.add_signal_handler(number, _hear, number)
                    _before[number] = before
    _listeners.add(listener)


def _hear_no_more(listener: StopListener) -> None:
    _listeners.discard(listener)
    if _listeners:
        return
    loop = asyncio.get_running_loop()
    for number, before in _before.items():
        loop.remove_signal_handler(number)
        if before is not None:
            signal.signal(number, before)
    _before.clear()


def _hear(number: int) -> None:
    for listener in list(_listeners):
        listener.heard(number)
