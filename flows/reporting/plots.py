"""Plots as SVG to stand inside a page: text in the page's own colour, on light and dark, the same each time."""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from math import ceil, floor, log10
from statistics import median, quantiles
from typing import Any, Final

from flows.reporting.growth import Growth

COLOURS: Final = {"instagram": "#c2548f", "tiktok": "#1f9e89", "youtube": "#d9622b", "x": "#5b7fd6"}
OTHER: Final = "#888888"
HATCHES: Final = {"instagram": "", "tiktok": "//", "youtube": "..", "x": "xx"}
MARKERS: Final = {"instagram": "o", "tiktok": "s", "youtube": "^", "x": "D"}
"""Nothing is told by colour alone."""

MOST_DAYS: Final = 60
MOST_HASHTAGS: Final = 12

_INK: Final = "#010203"
"""Stands for the page's own text colour until the drawing is finished."""

_AGES: Final = (
    (1, "1 s"), (60, "1 min"), (600, "10 min"), (3_600, "1 h"), (21_600, "6 h"), (86_400, "1 day"),
    (604_800, "7 days"), (2_592_000, "30 days"), (15_552_000, "180 days"), (63_072_000, "2 years"),
    (315_360_000, "10 years"), (3_153_600_000, "100 years"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing: SVG that can stand in a page, and what it shows in words."""

    svg: str
    words: str


def posting_days(by_day: Mapping[tuple[date, str], int]) -> Plot | None:
    """Posts by UTC day of posting, stacked by platform; the last 60 days that have any."""
    if not by_day:
        return None
    last = max(day for day, _ in by_day)
    first = max(min(day for day, _ in by_day), last - timedelta(days=MOST_DAYS - 1))
    days = [first + timedelta(days=at) for at in range((last - first).days + 1)]
    shown = Counter({key: count for key, count in by_day.items() if key[0] >= first})
    older = sum(by_day.values()) - shown.total()
    platforms = sorted({platform for _, platform in shown})
    words = (
        f"Posts by day of posting (UTC), {first.isoformat()} to {last.isoformat()}: "
        + ", ".join(f"{platform} {sum(shown[day, platform] for day in days):,}" for platform in platforms)
        + (f"; {older:,} older posts are not drawn" if older else "")
        + "."
    )

    def draw(axes: Any) -> None:
        floor = [0] * len(days)
        for platform in platforms:
            counts = [shown[day, platform] for day in days]
            axes.bar(
                range(len(days)), counts, bottom=floor, width=0.85, label=platform,
                color=COLOURS.get(platform, OTHER), hatch=HATCHES.get(platform), edgecolor=_INK, linewidth=0.4,
            )  # fmt: skip
            floor = [low + count for low, count in zip(floor, counts, strict=True)]
        step = max(1, len(days) // 7)
        axes.set_xticks(range(0, len(days), step), [f"{day:%d %b}".lstrip("0") for day in days[::step]])
        axes.set_ylabel("posts in the sample")
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.legend(loc="upper left", frameon=False, ncols=4)

    return Plot(_drawn("days", words, draw, height=2.6), words)


def growth(found: Growth, metric_name: str) -> Plot | None:
    """Medians over the age of posts, with the leading posts as thin lines; `likes`, or `plays` for plays and views."""
    series = [one for one in found.series() if (one[1] == "likes") == (metric_name == "likes")]
    if not series:
        return None
    told = []
    for platform, metric in series:
        points = found.points(platform, metric)
        middles = ", ".join(f"{point.span}: {point.median:,.0f} (of {point.posts:,} posts)" for point in points)
        told.append(f"{platform} {metric}, median by age: {middles}")
    words = f"Growth of {' and '.join(sorted({metric for _, metric in series}))} with age. {'; '.join(told)}."

    def draw(axes: Any) -> None:
        for platform, metric in series:
            colour = COLOURS.get(platform, OTHER)
            for line in found.leading.get((platform, metric), []):
                axes.plot(*zip(*line, strict=True), color=colour, linewidth=0.8, alpha=0.45)
            points = found.points(platform, metric)
            axes.plot(
                [point.age_seconds for point in points], [point.median for point in points], color=colour, linewidth=2,
                marker=MARKERS.get(platform, "o"), markersize=5, label=f"{platform}: median {metric}",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("symlog", linthresh=1)
        if axes.get_ylim()[0] < 1:
            axes.set_ylim(bottom=0)
        _name_ages(axes)
        _at_least_two_powers(axes)
        axes.minorticks_off()
        axes.set_xlabel("age of the post when it was measured")
        _thousands(axes.yaxis)
        axes.legend(loc="upper left", frameon=False)

    return Plot(_drawn(f"growth-{metric_name}", words, draw, height=3.2), words)


def _name_ages(axes: Any) -> None:
    """Ticks at ages that have a name; an axis that is too short for two of them reaches to the next on either side."""
    low, high = axes.get_xlim()
    ticks = [(at, name) for at, name in _AGES if low <= at <= high]
    if len(ticks) < 2:
        below = [one for one in _AGES if one[0] <= low][-1:]
        above = [one for one in _AGES if one[0] >= high][:1]
        ticks = [*below, *ticks, *above]
        # A little more than the outermost ticks, so that nothing lies on the edge.
        axes.set_xlim(min(low, ticks[0][0] * 0.9), max(high, ticks[-1][0] * 1.1))
    axes.set_xticks([at for at, _ in ticks], [name for _, name in ticks])


def _at_least_two_powers(axes: Any) -> None:
    """Make a logarithmic axis of numbers that are near each other reach from one power of ten to the next."""
    low, high = axes.get_ylim()
    if high < 1:
        axes.set_ylim(top=1)
    elif low >= 1 and ceil(log10(low)) >= floor(log10(high)):
        axes.set_ylim(10 ** floor(log10(low)), 10 ** ceil(log10(high)))


def spread(values: Mapping[str, Sequence[int]], metric: str) -> Plot | None:
    """How a metric is spread within each hashtag: median, middle half, and from the 10th to the 90th percentile."""
    there = [(name, sorted(numbers)) for name, numbers in values.items() if numbers][:MOST_HASHTAGS]
    if not there:
        return None
    rows = [(name, len(numbers), *_percentiles(numbers)) for name, numbers in there]
    words = f"Spread of {metric} by hashtag. " + "; ".join(
        f"{name}: median {middle:,.0f}, middle half {low:,.0f} to {high:,.0f} (of {count:,} posts)"
        for name, count, _, low, middle, high, _ in rows
    )

    def draw(axes: Any) -> None:
        for at, (_, _, least, low, middle, high, most) in enumerate(rows):
            axes.hlines(at, least, most, color=_INK, linewidth=1, alpha=0.6)
            axes.hlines(at, low, high, color=COLOURS["x"], linewidth=8, alpha=0.75)
            axes.plot([middle], [at], marker="|", color=_INK, markersize=14, markeredgewidth=2)
        axes.set_yticks(range(len(rows)), [f"{_short(name)} ({count:,})" for name, count, *_ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xscale("symlog", linthresh=1)
        if axes.get_xlim()[0] < 1:
            axes.set_xlim(left=0)
        axes.minorticks_off()
        _thousands(axes.xaxis)
        axes.set_xlabel(f"{metric} (bar: middle half; line: 10th to 90th percentile; stroke: median)")

    return Plot(_drawn("spread", f"{words}.", draw, height=0.9 + 0.36 * len(rows)), f"{words}.")


def _percentiles(numbers: Sequence[int]) -> tuple[float, float, float, float, float]:
    """The 10th, 25th, 50th, 75th and 90th percentile of sorted numbers."""
    if len(numbers) == 1:
        one = float(numbers[0])
        return one, one, one, one, one
    tenths = quantiles(numbers, n=10, method="inclusive")
    low, _, high = quantiles(numbers, n=4, method="inclusive")
    return tenths[0], low, median(numbers), high, tenths[-1]


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:21]}…"


def _thousands(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    units = ((10**9, "bn"), (10**6, "m"), (1000, "k"))

    def shown(value: float, _: int) -> str:
        return next((f"{value / size:g}{unit}" for size, unit in units if abs(value) >= size), f"{value:g}")

    axis.set_major_formatter(FuncFormatter(shown))


def _drawn(name: str, words: str, draw: Callable[[Any], None], *, height: float) -> str:
    """The SVG element of one plot; importing matplotlib takes a second, so that only a report pays for it."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {
        "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _INK, "xtick.color": _INK, "ytick.color": _INK,
        "grid.color": _INK, "grid.alpha": 0.15, "hatch.color": _INK, "hatch.linewidth": 0.3, "font.size": 9,
        "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
        "legend.labelcolor": _INK, "svg.fonttype": "none", "svg.hashsalt": f"tagtrail-{name}", "text.parse_math": False,
    }  # fmt: skip
    with mpl.rc_context(style), warnings.catch_warnings():
        # The reader's browser has letters that the drawing's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure = Figure(figsize=(8, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        draw(axes)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _embedded(written.getvalue(), name, words)


def _embedded(svg: str, name: str, words: str) -> str:
    """An SVG document as an element of a page: in the page's colour, with its words, and ids of its own."""
    inner = svg[svg.index("<svg") :]
    inner = re.sub(r"\s*<metadata>.*?</metadata>", "", inner, flags=re.DOTALL)
    inner = inner.replace(_INK, "currentColor")
    inner = re.sub(r'\bid="', f'id="{name}-', inner)
    inner = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", inner)
    head, _, rest = inner.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box[0]} role="img" '
        f'aria-label="{escape(words)}">{rest}'
    )
