"""The report as one HTML page: no script, nothing from elsewhere, every text escaped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from blocks.full_disk import unwritable
from blocks.memories.posts.mapping import PARSER_VERSION
from flows.reporting import plots
from flows.reporting.figures import BY_OTHER_MEANS, METRICS, Figure, Figures, Section
from flows.reporting.points import open_points
from flows.steps.summary import SAMPLE, TODAY

UNKNOWN: Final = "–"
LONGEST_CAPTION: Final = 140


def render(figures: Figures) -> str:
    """The page; the same figures make the same page, letter by letter."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("flows.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number, "of": of, "middle": middle, "when": when, "minute": minute, "usd": usd, "short": short,
        "percent": percent, "label": label, "link": link,
    }  # fmt: skip
    return environment.get_template("page.html.j2").render(
        figures=figures,
        sections=[_shown(at, section) for at, section in enumerate(figures.sections, 1)],
        sample=SAMPLE,
        today=TODAY,
        parser_version=PARSER_VERSION,
    )


def write(page: str, target: Path) -> None:
    """Put the page in its place, whole or not at all.

    A device or a pipe is written to, never replaced.

    Raises:
        TagtrailError: the disk is full.
        UsageError: the file cannot be written.
    """
    target = target.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if target.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        if target.exists() and not target.is_file():
            target.write_text(page, encoding="utf-8", errors="replace")
            return
        part.write_text(page, encoding="utf-8", errors="replace")
        part.replace(target)
    except OSError as error:
        raise unwritable(target, error) from None
    finally:
        part.unlink(missing_ok=True)


def _shown(at: int, section: Section) -> dict[str, Any]:
    # Where plays are known for nothing, views or likes are what can be compared.
    metric = max(("plays", "views", "likes"), key=lambda name: len(section.whole.values[name]))
    spread = {label(tag): group.values[metric] for tag, group in section.hashtags.items()}
    drawn = {
        "days": plots.posting_days(section.by_day),
        "spread": plots.spread(spread, metric),
        "growth": plots.growth(section.growth, "plays"),
        "growth_likes": plots.growth(section.growth, "likes"),
    }
    known = [name for name in METRICS if section.whole.values[name]]
    return {
        "at": at,
        "metrics": known,
        "unknown_metrics": [name for name in METRICS if name not in known] if section.whole.posts else [],
        "leading_metrics": [name for name in ("plays", "views", "likes", "comments") if name in known],
        "section": section,
        "metric": metric,
        "plots": {name: _apart(plot, at) for name, plot in drawn.items() if plot is not None},
        "series": [(*one, section.growth.points(*one)) for one in section.growth.series()],
        "spent_micros": sum(line.spent_micros for line in section.spending),
        "reserved_micros": sum(line.reserved_micros for line in section.spending),
        "points": open_points(section.findings, section.channels),
        "coverage": section.coverage.by_column(),
    }


def _apart(plot: plots.Plot, at: int) -> plots.Plot:
    """The same drawing with ids that no other section's drawing has."""
    svg = plot.svg
    for mark in ('id="', 'xlink:href="#', "url(#"):
        svg = svg.replace(mark, f"{mark}s{at}-")
    return plots.Plot(svg, plot.words)


def number(value: float | None) -> str:
    """A count with thousands apart; a dash where it is not known."""
    if value is None:
        return UNKNOWN
    # A whole number is never made a fraction: above 2**53 it would be another one.
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if value % 1 == 0 else f"{value:,.1f}"


def of(figure: Figure) -> str:
    """What a total rests on: `of 48 of 50 posts`."""
    return f"of {figure.known:,} of {figure.posts:,} {'post' if figure.posts == 1 else 'posts'}"


def middle(figure: Figure) -> str:
    """A median as text."""
    return number(figure.median)


def when(moment: datetime | None) -> str:
    """A time to the minute, in UTC."""
    return UNKNOWN if moment is None else f"{minute(moment)} UTC"


def minute(moment: datetime | None) -> str:
    """A time to the minute, where UTC is said elsewhere."""
    return UNKNOWN if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def usd(micros: int) -> str:
    """Millionths of a US dollar as dollars."""
    return f"{micros / 1_000_000:,.4f} USD"


def short(text: str | None) -> str:
    """A caption on one line, cut to a length that a table bears."""
    line = " ".join((text or UNKNOWN).split())
    return line if len(line) <= LONGEST_CAPTION else f"{line[: LONGEST_CAPTION - 1]}…"


def percent(share: float | None) -> str:
    """A share of 1; never rounded to 0 % or 100 % where it is neither."""
    if share is None:
        return UNKNOWN
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %".replace(".0 %", " %")


def label(tag: str) -> str:
    """A hashtag as it is shown."""
    return "by URL or creator" if tag == BY_OTHER_MEANS else f"#{tag}"


def link(row: Mapping[str, Any]) -> str | None:
    """The post's address, if it is one that a page may link to."""
    url = str(row["url"])
    return url if url.startswith("https://") else None
