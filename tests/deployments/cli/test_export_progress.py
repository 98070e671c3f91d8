"""The bar of an export: on a terminal only, and only where it takes longer than a second."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import count as counting

import pytest
from rich.console import Console

from deployments.cli.commands import export
from deployments.cli.commands.export import LOOK_ROWS, watched


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a terminal shows."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100)
    monkeypatch.setattr(export, "diagnostics", lambda: console)
    return shown


def asked() -> int:
    raise AssertionError("the rows were counted for nothing")


def test_a_long_export_shows_how_far_it_is(screen: io.StringIO) -> None:
    rows = list(range(3 * LOOK_ROWS))
    ticks = counting()
    assert list(watched(rows, "posts", lambda: len(rows), clock=lambda: float(next(ticks)))) == rows
    assert "posts" in screen.getvalue()
    assert f"{2 * LOOK_ROWS}/{len(rows)}" in screen.getvalue()


def test_a_short_one_shows_nothing(screen: io.StringIO) -> None:
    rows = list(range(3 * LOOK_ROWS))
    assert list(watched(rows, "posts", asked, clock=lambda: 5.0)) == rows
    assert "posts" not in screen.getvalue()


def test_where_there_is_no_terminal_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    ticks = counting()
    assert list(watched(range(5000), "posts", asked, clock=lambda: float(next(ticks)))) == list(range(5000))
    assert capsys.readouterr().err == ""
