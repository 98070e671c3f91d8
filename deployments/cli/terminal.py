"""Where words go: results to standard output, all else to standard error."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Iterable
from typing import Any, Final, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from blocks.outside_words import for_json, for_terminal

WIDE: Final = 160
"""Columns of what is no terminal: a file or a pipe is as wide as it needs to be."""


class _Safe(Console):
    """A console on which no text steers the terminal, whoever wrote it; what styles it is rich's own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(for_terminal(segment.text), segment.style)


class _Results(_Safe):
    """A console whose reader may leave (`| head`): the command goes on to its end, and keeps its exit status."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nobody_reads()


def make_ready() -> None:
    """See to it that all that is said can be written: no letter that a terminal cannot show ends a command.

    Such a letter is replaced. What goes to a stream that is closed goes nowhere; the next file that is opened must
    not take its place.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def nobody_reads() -> None:
    """What is still to be written to standard output has nowhere to go."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def flush() -> None:
    """Write out what standard output holds, if anybody reads it still."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        nobody_reads()


def results() -> Console:
    """The console of results, on standard output as it is now."""
    console = _Results(file=sys.stdout, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    return console


def diagnostics() -> Console:
    """The console of progress and notes, on standard error as it is now."""
    return _Safe(file=sys.stderr, highlight=False)


def print_labelled(console: Console, rows: Iterable[tuple[Text, str]], *, joint: str) -> None:
    """Labels, and beside each its text: on a terminal in two columns, elsewhere one a line with `joint` between."""
    if not console.is_terminal:
        for label, text in rows:
            console.print(label + Text(f"{joint}{text}" if label else text), soft_wrap=True)
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(label, Text(text))
    console.print(table)


def counted(count: int, noun: str) -> str:
    """`1 post`, `2,000 posts`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def tell(sentence: str) -> None:
    """One sentence on standard error: no markup, nothing that steers the terminal, and no broken words on one.

    Nothing fails where nobody can read it.
    """
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{_fitted(sentence, sys.stderr)}\n")
        sys.stderr.flush()


def _fitted(text: str, stream: TextIO) -> str:
    """The text without what steers a terminal, in lines that fit where the stream is one."""
    text = for_terminal(text)
    return unbroken(text, shutil.get_terminal_size().columns) if stream.isatty() else text


def unbroken(text: str, width: int) -> str:
    """The text in lines of at most `width` columns, broken between words only; a longer word has a line of its own."""
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip(" "))]
        wrapped = textwrap.wrap(
            line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, tabsize=8
        )
        lines += wrapped or [""]
    return "\n".join(lines)


def tell_trace(error: BaseException) -> None:
    """Where an error came from, on standard error."""
    tell("".join(traceback.format_exception(error)).rstrip("\n"))


def say(text: str) -> None:
    """Text on standard output: no markup, nothing that steers the terminal, and no broken words on one."""
    print(_fitted(text, sys.stdout))  # noqa: T201


def write_result(document: Any, lines: Iterable[str], *, json: bool) -> None:
    """A command's result on standard output: as JSON, or in sentences."""
    if json:
        write_json(document)
    else:
        say("\n".join(lines))


def write_json(value: Any) -> None:
    """One JSON document on standard output; only ASCII where that has an encoding that not all letters have."""
    text = for_json(json.dumps(value, indent=2, ensure_ascii=not sys.stdout.encoding.lower().startswith("utf")))
    try:
        sys.stdout.write(f"{text}\n")
    except BrokenPipeError:
        nobody_reads()
    flush()
