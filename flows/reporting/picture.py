"""The main plot as a small picture in a Prefect artifact: medians by hashtag, this period beside the one before."""

from __future__ import annotations

import base64
from collections.abc import Callable
from html import escape
from math import log
from typing import Any, Final

from flows.reporting import page_data
from flows.reporting.figures import Section
from flows.reporting.sentences import AT, number

MAX_ROWS: Final = 12
"""So many hashtags are drawn; the file has all."""

LONGEST_LABEL: Final = 22
WIDTH: Final = 680
LEFT: Final = 170
RIGHT: Final = 500
ROW: Final = 40
INK, NOW, BEFORE = "#1a1f26", "#0a5fb4", "#b3551a"


def of_hashtags(section: Section) -> str | None:
    """An image in Markdown that holds itself; None where nothing is compared.

    Both UIs of Prefect draw it within a Markdown artifact, also without a network.
    """
    plots = page_data.of_section(section)["compared"]
    if not plots:
        return None
    rows = [line for line in plots[0]["lines"] if _drawn(line)][:MAX_ROWS]
    if not rows:
        return None
    document = _document(f"{plots[0]['name']}, median at {AT}", rows)
    packed = base64.b64encode(document.encode()).decode()
    return f"![Medians at {AT} by hashtag; the numbers are in the table](data:image/svg+xml;base64,{packed})"


def _drawn(line: dict[str, Any]) -> bool:
    """Whether there is a median that a logarithmic scale can show."""
    return any(line[which][0] is not None and line[which][0] > 0 for which in ("now", "before"))


def _document(title: str, rows: list[dict[str, Any]]) -> str:
    ends = [end for row in rows for which in ("now", "before") for end in row[which][:3] if end is not None and end > 0]
    low, high = log(min(ends) / 1.1), log(max(ends) * 1.1)

    def across(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * (log(max(value, min(ends))) - low) / (high - low)

    height = 64 + ROW * len(rows)
    legend = (
        f'<circle cx="{LEFT}" cy="40" r="5" fill="{NOW}"/><text x="{LEFT + 12}" y="44">this period</text>'
        f'<circle cx="{LEFT + 120}" cy="40" r="5" fill="{BEFORE}"/><text x="{LEFT + 132}" y="44">the one before</text>'
        f'<text x="{RIGHT + 16}" y="44">now (before)</text>'
    )
    drawn = "".join(_row(at, row, across) for at, row in enumerate(rows))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="13" fill="{INK}"><rect width="{WIDTH}" height="{height}" fill="#fff"/>'
        f'<text x="12" y="20" font-weight="bold">{escape(title)} (logarithmic scale, 90 % intervals)</text>'
        f"{legend}{drawn}</svg>"
    )


def _row(at: int, row: dict[str, Any], across: Callable[[float], float]) -> str:
    middle = 76 + ROW * at
    label = "".join(letter for letter in row["label"] if letter.isprintable())
    label = label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"
    said = f"{number(row['now'][0])} ({number(row['before'][0])})"
    return (
        f'<text x="12" y="{middle + 4}">{escape(label)}</text>'
        f"{_median(row['before'], middle + 7, BEFORE, across)}{_median(row['now'], middle - 7, NOW, across)}"
        f'<text x="{RIGHT + 16}" y="{middle + 4}">{escape(said)}</text>'
    )


def _median(middle: list[Any], height: int, color: str, across: Callable[[float], float]) -> str:
    median, low, high = middle[:3]
    if median is None or median <= 0:
        return ""
    line = ""
    if low is not None and high is not None:
        line = f'<path d="M{across(low):.1f} {height}H{across(high):.1f}" stroke="{color}" stroke-width="2"/>'
    return f'{line}<circle cx="{across(median):.1f}" cy="{height}" r="5" fill="{color}"/>'
