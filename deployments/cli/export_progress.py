"""How far an export is: a bar on standard error, where that is a terminal and the export takes its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deployments.cli.terminal import diagnostics

T = TypeVar("T")

QUIET_SECONDS: Final = 1.0
"""What is over by then shows no bar."""

LOOK_ROWS: Final = 500
"""Rows between two looks at the clock."""


def watched(
    rows: Iterable[T], what: str, count: Callable[[], int], *, clock: Callable[[], float] = time.monotonic
) -> Iterator[T]:
    """The same rows. `count` says how many there are in all; it is asked once, and only where a bar is shown."""
    console = diagnostics()
    if not console.is_terminal:
        yield from rows
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    began = clock()
    with Progress(*columns, console=console, transient=True, disable=False, auto_refresh=False) as bar:
        task = bar.add_task(what, total=None, visible=False)
        for done, row in enumerate(rows, 1):
            if done % LOOK_ROWS == 0 and clock() - began >= QUIET_SECONDS:
                if not bar.tasks[0].visible:
                    bar.update(task, total=count(), visible=True)
                bar.update(task, completed=done, refresh=True)
            yield row
