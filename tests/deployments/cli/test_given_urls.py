"""URLs from a file: each wrong line is named by its number, with its own reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.errors import UsageError
from deployments.cli.options import MAX_REASONS, given_urls

GOOD = "https://www.instagram.com/p/DQk1lnGlaz3/"


def test_each_wrong_line_has_its_number_and_its_own_reason(tmp_path: Path) -> None:
    file = tmp_path / "urls.txt"
    lines = [
        "\ufeff# mine",
        GOOD,
        "",
        "https://e.example/p/1",
        "https://vm.tiktok.com/ZMabc/",
        f"  ({GOOD}), ",
        "hello\x1b[31m you",
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        given_urls([], file)
    first, *told = str(caught.value).splitlines()
    assert first == f"3 of the 5 addresses in {file} name no post, and nothing was submitted:"
    assert [line.partition(": ")[0].strip() for line in told] == ["line 4", "line 5", "line 7"]
    for line, reason in zip(told, ("is on no known platform", "short link does not say", "holds spaces"), strict=True):
        assert reason in line
        assert line.isprintable()


def test_one_wrong_line_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "urls.txt"
    file.write_text(f"{GOOD}\r\n\r\nhttps://x.com/fern\r\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r'^line 3 of .*urls\.txt: "https://x\.com/fern" names no post; .*submitted$'):
        given_urls([], file)


def test_of_many_wrong_lines_every_number_is_told(tmp_path: Path) -> None:
    file = tmp_path / "urls.txt"
    file.write_text("\n".join(["hello", GOOD] * (MAX_REASONS + 2)), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        given_urls([], file)
    told = str(caught.value).splitlines()
    assert len(told) == 1 + MAX_REASONS + 1
    assert told[-1] == "  and lines 101, 103"


def test_right_lines_come_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "urls.txt"
    file.write_text(f"# a\n{GOOD}\n\n  <{GOOD}>\n", encoding="utf-8")
    assert given_urls([GOOD], file) == [GOOD, GOOD, f"<{GOOD}>"]
