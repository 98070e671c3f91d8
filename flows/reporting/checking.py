"""A check by hand: a list of random posts with the stored numbers, and how far they agree once it is filled in."""

from __future__ import annotations

import csv
import os
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from blocks.errors import UsageError, unwritable
from flows.reporting.figures import Figures

NUMBERS: Final = ("plays", "views", "likes", "comments")
NEAR_PERCENT: Final = 5

COLUMNS: Final = (
    "url", "measured_at", *NUMBERS, "checked_at", "found", *(f"seen_{name}" for name in NUMBERS), "remark",
)  # fmt: skip


@dataclass(slots=True)
class Agreement:
    """How far a filled-in list agrees; by number: posts compared, those within 5 %, and the median of seen / stored."""

    listed: int = 0
    checked: int = 0
    not_found: int = 0
    numbers: dict[str, tuple[int, int, float | None]] = field(default_factory=dict)


def beside(target: Path) -> Path:
    """The list's own place: `report-….check.csv` beside `report-….html`."""
    return target.with_name(f"{target.stem}.check.csv")


def write_list(path: Path, figures: Figures, count: int) -> None:
    """Write down `count` random posts of the period that were measured at 24 h; the same ones for the same data.

    Raises:
        UsageError: there is a list already, or it cannot be written.
    """
    if path.exists():
        raise UsageError(f"{path} is there already; fill it in, or move it away to get another list")
    rows = [
        row
        for section in figures.sections
        for at, row in sorted(section.receipts.items())
        if section.now[at] and row.observed_at is not None
    ]
    seed = "".join(section.rows_sha256 for section in figures.sections)
    chosen = random.Random(seed).sample(rows, min(count, len(rows)))
    try:
        with os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8-sig", newline=""
        ) as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for row in chosen:
                empty = [""] * (len(COLUMNS) - 2 - len(NUMBERS))
                writer.writerow(
                    [row.url, f"{row.observed_at:%Y-%m-%dT%H:%MZ}", *(getattr(row, n) for n in NUMBERS), *empty]
                )
    except OSError as error:
        raise unwritable(path, error) from None


def agreement(path: Path) -> Agreement | None:
    """How far a list that somebody filled in agrees; None where there is none, or nothing is filled in.

    Raises:
        UsageError: the file is no such list, or something in it is no number.
    """
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    # Spreadsheets of many countries write semicolons.
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    rows = list(csv.DictReader(text.splitlines(), delimiter=delimiter))
    if rows and not set(COLUMNS) <= rows[0].keys():
        raise UsageError(f"{path} lacks columns of a list to check ({', '.join(COLUMNS)}); move it away to go on")
    found = Agreement(listed=len(rows))
    pairs: dict[str, list[tuple[int, int]]] = {name: [] for name in NUMBERS}
    for line, row in enumerate(rows, 2):
        seen = {name: _count(path, line, row, f"seen_{name}") for name in NUMBERS}
        missing = str(row["found"]).strip().lower() in ("no", "n", "0", "false")
        found.not_found += missing
        found.checked += missing or any(value is not None for value in seen.values())
        for name, value in seen.items():
            stored = _count(path, line, row, name)
            if value is not None and stored is not None:
                pairs[name].append((stored, value))
    for name, both in pairs.items():
        if both:
            near = sum(abs(value - stored) * 100 <= NEAR_PERCENT * stored for stored, value in both)
            ratios = [value / stored for stored, value in both if stored]
            found.numbers[name] = (len(both), near, median(ratios) if ratios else None)
    return found if found.checked else None


def _count(path: Path, line: int, row: Mapping[str, str | None], name: str) -> int | None:
    # Where a column has gaps, spreadsheets and pandas write 1000.0; three digits after a point are thousands.
    typed = re.sub(r"[.,]0{1,2}\Z", "", (row[name] or "").strip())
    typed = re.sub(r"[,. \u202f]", "", typed)
    if not typed:
        return None
    if not typed.isdecimal():
        raise UsageError(
            f"{path}, line {line}: {name} is a whole number as the platform shows it in full, not {row[name]}"
        )
    return int(typed)
