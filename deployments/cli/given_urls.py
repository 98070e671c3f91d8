"""URLs as people give them to a command: as arguments, from a file, or from standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from blocks.errors import NotAPostUrl, UsageError
from blocks.posts.identity import parse_post_url

MOST_REASONS = 50
"""So many wrong lines of a file are told with their reasons; of the others the numbers alone."""


def given_urls(typed: Sequence[str], file: Path | None) -> list[str]:
    """All URLs, in the order given; `-` stands for standard input, in either place.

    Raises:
        UsageError: a word that looks like an option, a file that cannot be read, or lines of it that name no post.
    """
    # Hyphens are let through for the sake of `-`.
    if unknown := next((word for word in typed if word.startswith("-") and word != "-"), None):
        raise UsageError(f"Unknown option: {unknown}.")
    given = [url for word in typed for url in (_lines(None) if word == "-" else [word])]
    if file is not None:
        given += _lines(None if str(file) == "-" else file)
    return given


def _lines(file: Path | None) -> list[str]:
    where = "standard input" if file is None else str(file)
    try:
        text = sys.stdin.read() if file is None else file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(f"{where} cannot be read: {reason}") from None
    stripped = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
    lines = [(number, line) for number, line in stripped if line and not line.startswith("#")]
    wrong = [(number, reason) for number, line in lines if (reason := _why_no_post(line)) is not None]
    if wrong:
        raise UsageError(_told(where, len(lines), wrong))
    return [line for _, line in lines]


def _why_no_post(line: str) -> str | None:
    try:
        parse_post_url(line)
    except NotAPostUrl as error:
        return str(error)
    return None


def _told(where: str, count: int, wrong: Sequence[tuple[int, str]]) -> str:
    """Each wrong line's number with its own reason."""
    if len(wrong) == 1:
        return f"line {wrong[0][0]} of {where}: {wrong[0][1]}; nothing was submitted"
    told = [f"{len(wrong)} of the {count} addresses in {where} name no post, and nothing was submitted:"]
    told += [f"  line {number}: {reason}" for number, reason in wrong[:MOST_REASONS]]
    if more := ", ".join(str(number) for number, _ in wrong[MOST_REASONS:]):
        told.append(f"  and lines {more}")
    return "\n".join(told)
