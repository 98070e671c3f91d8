"""URLs as people give them to a command: as arguments, from a file, or from standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from blocks.memories.errors import UsageError


def given_urls(typed: Sequence[str], file: Path | None) -> list[str]:
    """All URLs, in the order given; `-` stands for standard input, in either place.

    Raises:
        UsageError: a word that looks like an option, or a file that cannot be read.
    """
    # Hyphens are let through for the sake of `-`.
    if unknown := next((word for word in typed if word.startswith("-") and word != "-"), None):
        raise UsageError(f"Unknown option: {unknown}.")
    given = [url for word in typed for url in (_lines(None) if word == "-" else [word])]
    if file is not None:
        given += _lines(None if str(file) == "-" else file)
    return given


def _lines(file: Path | None) -> list[str]:
    try:
        text = sys.stdin.read() if file is None else file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(f"{'standard input' if file is None else file} cannot be read: {reason}") from None
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]
