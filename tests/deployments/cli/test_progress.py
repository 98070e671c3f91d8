"""What a run shows of itself while it goes on."""

import io
import time
from collections import deque
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from deployments.cli import progress as shown_progress
from deployments.cli.progress import line, picture, seconds_left, shown
from flows.steps.run.progress import Progress
from flows.steps.run.summary import ImportSummary, RunSummary

NOW = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)


def half_way() -> Progress:
    return Progress(
        imports_open=1,
        imports_done=1,
        found=40,
        enriched=21,
        fresh=3,
        failed=1,
        gone=2,
        cost_usd=0.613,
        started_at=NOW - timedelta(seconds=75),
        recent=deque(NOW - timedelta(seconds=seconds / 2) for seconds in range(20, -1, -1)),
    )


def test_one_line_says_it_all() -> None:
    assert line(half_way(), 50, NOW) == (
        "imports 1 of 2 finished · 40 posts found of 50 asked for · 24 enriched (3 of them fresh already) · 1 failed"
        " · 2 gone · 2.0 posts/s · 0.61 USD"
    )


def test_the_beginning_promises_nothing() -> None:
    assert line(Progress(), 0, NOW) == "0 posts found · 0 enriched"


def test_time_left_is_of_the_posts_that_are_not_settled() -> None:
    progress = half_way()
    progress.imports_open, progress.imports_done = 0, 2
    assert seconds_left(progress, NOW) == pytest.approx(13 / 2)
    assert "about 6 s left" in line(progress, 50, NOW)
    progress.found = progress.settled
    assert seconds_left(progress, NOW) is None


def test_no_time_left_is_told_while_imports_are_open_or_there_is_no_pace_yet() -> None:
    progress = half_way()
    assert seconds_left(progress, NOW) is None
    progress.imports_open = 0
    while len(progress.recent) >= shown_progress.MIN_POSTS:
        progress.recent.popleft()
    assert seconds_left(progress, NOW) is None


def test_a_wait_between_posts_is_no_part_of_the_pace() -> None:
    progress = Progress(found=100)
    for second in (0, 1, 2, 120, 121, 122):
        progress.count("enriched", NOW + timedelta(seconds=second))
    assert progress.rate_per_second(NOW + timedelta(seconds=122)) == pytest.approx(1)


def test_money_and_imports_are_told_by_the_books_and_in_the_end_by_the_summary() -> None:
    progress = half_way()
    progress.cost_usd, progress.imports_settled = 1.56, 0
    assert line(progress, 50, NOW).startswith("imports 0 of 2 finished · ")
    assert line(progress, 50, NOW).endswith(" · 1.56 USD")
    progress.imports_open, progress.imports_done = 0, 2
    states = ("ambiguous", "planned", "empty")
    progress.summary = RunSummary(
        run_id="r", flow="f", outcome="attention", message="", cost_usd=1.7, started_at=NOW, finished_at=NOW,
        imports=[
            ImportSummary(
                import_id=state, task_id=None, kind="hashtag", hashtag="moss", how="submitted", state=state,
                requested=10, seen=0, new=0, known=0, planned_at=NOW,
            )
            for state in states
        ],
    )  # fmt: skip
    assert line(progress, 50, NOW).startswith("imports 1 of 3 finished · ")
    assert line(progress, 50, NOW).endswith(" · 1.70 USD")


def test_a_pace_is_of_the_last_posts_and_none_while_nothing_comes() -> None:
    progress = Progress(found=60)
    for second in range(60):
        progress.count("enriched", NOW + timedelta(seconds=second / 10 if second >= 10 else second / 100))
    assert progress.enriched == 60
    assert progress.rate_per_second(progress.recent[-1]) == pytest.approx(10)
    assert "posts/s" not in line(progress, 60, progress.recent[-1] + timedelta(seconds=11))


def test_imports_that_wait_for_the_rate_are_told() -> None:
    assert "1 import to be sent, at TAGTRAIL_IMPORTS_PER_MINUTE" in line(Progress(imports_waiting=1), 0, NOW)


def test_a_pause_says_when_it_goes_on() -> None:
    progress = half_way()
    progress.paused_until = NOW + timedelta(seconds=90)
    clock = progress.paused_until.astimezone().strftime("%H:%M:%S")
    assert f"waiting until {clock}" in line(progress, 50, NOW)
    assert "waiting" not in line(progress, 50, NOW + timedelta(seconds=91))


def test_the_picture_fits_a_narrow_terminal() -> None:
    console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    console.print(picture(half_way(), 50, "*", NOW))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "importing · imports 1 of 2 finished · 1 min 15 s" in text
    assert max(map(len, text.splitlines())) <= 60


def test_without_a_terminal_there_are_plain_lines_and_each_note_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(imports_open=2)
    with shown(progress, expected=10, quiet=False):
        progress.notes.append("joined the import of 12:00 UTC for #linen")
        progress.found = 10
        time.sleep(shown_progress.LOOK_SECONDS * 2)
        progress.imports_open, progress.imports_done, progress.enriched = 0, 2, 10
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in err
    lines = err.splitlines()
    assert lines.count("· joined the import of 12:00 UTC for #linen") == 1
    assert lines[-1] == "imports 2 of 2 finished · 10 posts found of 10 asked for · 10 enriched"


def test_lines_come_every_few_seconds_and_only_when_something_changed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown_progress, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(shown_progress, "PLAIN_SECONDS", 0.2)
    progress = Progress(found=1000)
    with shown(progress, expected=0, quiet=False):
        began, lines = time.monotonic(), list[str]()
        while len(lines) < 4:
            progress.enriched += 1
            time.sleep(0.01)
            lines += capsys.readouterr().err.splitlines()
        seconds = time.monotonic() - began
        time.sleep(0.5)
        lines += capsys.readouterr().err.splitlines()
    lines += capsys.readouterr().err.splitlines()
    assert len(set(lines)) == len(lines)
    # The first one, one in 0.2 s after it, and what the last change was.
    assert len(lines) <= 2 + seconds / 0.2


def test_json_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(notes=half_way().notes)
    with shown(progress, expected=10, quiet=True):
        progress.notes.append("a note")
        progress.found = 3
    assert capsys.readouterr() == ("", "")
