"""A run's progress: a small live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from blocks.outside_words import plain
from deployments.cli.terminal import counted, diagnostics, tell
from flows.steps.run.progress import Progress

LOOK_SECONDS: Final = 0.25
PLAIN_SECONDS: Final = 5.0
"""Without a terminal a line is written that often, if something changed, and at once when an import ends."""

MIN_POSTS: Final = 10
"""Posts in a row before the run's pace says how long the rest takes."""


@contextmanager
def shown(progress: Progress, *, expected: int, quiet: bool) -> Iterator[None]:
    """Show `progress` on standard error while the block runs; `expected` posts at most, `quiet`: not at all."""
    if quiet:
        yield
        return
    console = diagnostics()
    watching = _live(progress, expected, console) if console.is_terminal else _plain(progress, expected)
    with watching:
        yield


@contextmanager
def _live(progress: Progress, expected: int, console: Console) -> Iterator[None]:
    said: set[str] = set()
    spinner = Spinner("dots", style="cyan")

    def look() -> None:
        for note in _new_notes(progress, said):
            console.print(Text(f"· {note}", style="dim"))

    with (
        Live(console=console, get_renderable=lambda: picture(progress, expected, spinner), transient=True),
        _every(LOOK_SECONDS, look),
    ):
        yield


@contextmanager
def _plain(progress: Progress, expected: int) -> Iterator[None]:
    said: set[str] = set()
    last_steps: object = None
    last_at, last_line = datetime.now(UTC), ""

    def look(*, final: bool = False) -> None:
        nonlocal last_steps, last_at, last_line
        for note in _new_notes(progress, said):
            tell(f"· {note}")
        steps, now, sentence = (progress.stage, progress.imports_finished), datetime.now(UTC), line(progress, expected)
        is_due = final or steps != last_steps or (now - last_at).total_seconds() >= PLAIN_SECONDS
        if is_due and sentence != last_line:
            last_steps, last_at, last_line = steps, now, sentence
            tell(sentence)

    with _every(LOOK_SECONDS, look):
        yield
    look(final=True)


def _new_notes(progress: Progress, said: set[str]) -> list[str]:
    """The notes of a run that are not in `said`; they are then."""
    fresh = [note for note in map(plain, tuple(progress.notes)) if note not in said]
    said.update(fresh)
    return fresh


@contextmanager
def _every(seconds: float, look: Callable[[], object]) -> Iterator[None]:
    """Call `look` from a thread of its own; the run's event loop is not to wait for a terminal."""
    over = threading.Event()

    def loop() -> None:
        while not over.wait(seconds):
            look()

    thread = threading.Thread(target=loop, name="tagtrail-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        look()


def seconds_left(progress: Progress, now: datetime) -> float | None:
    """How long the posts found still take at the pace of this run; None while nobody can tell.

    Nobody can while imports are open, which may list more and make the posts wait, and before there is a pace.
    """
    if progress.imports_open or len(progress.recent) < MIN_POSTS:
        return None
    rate = progress.rate_per_second(now)
    left = progress.found - progress.settled
    return left / rate if rate and left > 0 else None


def line(progress: Progress, expected: int, now: datetime | None = None) -> str:
    """The progress as one line."""
    now = now or datetime.now(UTC)
    return " · ".join(part for part in (_imports(progress), _posts(progress, expected), _pace(progress, now)) if part)


def picture(progress: Progress, expected: int, spinner: RenderableType, now: datetime | None = None) -> RenderableType:
    """The progress as a few lines for a terminal."""
    now = now or datetime.now(UTC)
    rows = Table.grid(padding=(0, 1))
    elapsed = _span((now - progress.started_at).total_seconds()) if progress.started_at else ""
    head = " · ".join(part for part in (progress.stage, _imports(progress), elapsed) if part)
    rows.add_row(spinner, Text(head))
    total = max(expected, progress.found)
    if total:
        rows.add_row("", ProgressBar(total=total, completed=progress.settled, width=46))
    rows.add_row("", Text(_posts(progress, expected)))
    rows.add_row("", Text(_pace(progress, now), style="dim"))
    return rows


def _imports(progress: Progress) -> str:
    count = progress.imports
    return f"imports {progress.imports_finished} of {count} finished" if count else ""


def _posts(progress: Progress, expected: int) -> str:
    asked = f" of {expected} asked for" if expected else ""
    fresh = f" ({progress.fresh:,} of them fresh already)" if progress.fresh else ""
    counts = [f"{progress.enriched + progress.fresh:,} enriched{fresh}"]
    counts += [f"{count:,} {name}" for name in ("failed", "gone") if (count := getattr(progress, name))]
    return " · ".join([f"{counted(progress.found, 'post')} found{asked}", *counts])


def _pace(progress: Progress, now: datetime) -> str:
    parts = []
    if progress.paused_until is not None and progress.paused_until > now:
        parts.append(f"waiting until {progress.paused_until.astimezone().strftime('%H:%M:%S')}")
    if progress.imports_waiting:
        parts.append(f"{counted(progress.imports_waiting, 'import')} to be sent, at TAGTRAIL_IMPORTS_PER_MINUTE")
    if (rate := progress.rate_per_second(now)) is not None:
        parts.append(f"{rate:.1f} posts/s")
    if (left := seconds_left(progress, now)) is not None:
        parts.append(f"about {_span(left)} left")
    if spent := progress.spent_usd:
        parts.append(f"{spent:.2f} USD")
    return " · ".join(parts)


def _span(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
