"""The report as one HTML page that needs nothing else: every text escaped, the plots' program inside the file."""

from __future__ import annotations

import base64
import gzip
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import orjson

from blocks.dollars import dollars
from blocks.errors import unwritable
from blocks.posts.payloads.mapping import PARSER_VERSION
from flows.reporting import figures, page_data
from flows.reporting import statistics as rules
from flows.reporting.checking import Agreement
from flows.reporting.figures import Figures, Section
from flows.reporting.sentences import aged, number, plural, times
from flows.steps.run.summary import SAMPLE, TODAY

UNKNOWN: Final = "–"
LONGEST_CAPTION: Final = 140
MAX_LISTED: Final = 60
"""Strata of so many hashtags are listed, and so many comparisons; the table of hashtags has all."""


def render(made: Figures, agreement: Agreement | None = None) -> str:
    """The page; the same figures (and the same check by hand) make the same page, letter by letter."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("flows.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number, "counted": plural, "times": times, "when": when, "minute": minute, "usd": usd, "short": short,
        "percent": percent, "age": _age, "moment": _moment, "day": _day,
    }  # fmt: skip
    program = _own("page.js")
    of_sections = [page_data.of_section(section) for section in made.sections]
    data = {"sections": of_sections}
    return environment.get_template("page.html.j2").render(
        figures=made,
        period=made.period,
        sections=[_shown(at, section, made, of_sections[at - 1]) for at, section in enumerate(made.sections, 1)],
        sample_note=SAMPLE,
        today=TODAY,
        parser_version=PARSER_VERSION,
        version=_version(),
        agreement=agreement,
        rules=rules,
        most=MAX_LISTED,
        style=_own("page.css"),
        program=program,
        program_hash=base64.b64encode(sha256(program.encode()).digest()).decode(),
        data=_packed(orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS)),
        plotting=_plotting(),
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


def _own(name: str) -> str:
    return files("flows.reporting").joinpath(name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _plotting() -> str:
    """The plotting library's own program, which its package ships, packed: 1.9 MB instead of 4.8."""
    return _packed(files("plotly").joinpath("package_data/plotly.min.js").read_bytes())


def _packed(content: bytes) -> str:
    """Compressed, as text for a page; without a time, so that it is the same each time."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _version() -> str:
    from importlib.metadata import version

    return version("tagtrail")


def _shown(at: int, section: Section, made: Figures, of_section: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": at,
        "section": section,
        "is_compared": bool(of_section["compared"]),
        "listed": [line for place, line in enumerate(section.hashtags) if place < MAX_LISTED or line.tag < 0],
        "sparks": {line.tag: spark(line.line) for line in section.hashtags},
        "leading": [
            page_data.Leading.of(section, one, peers)
            for one, peers in zip(section.search.leading, section.baselines, strict=True)
        ],
        "cooccurring": figures.cooccurring(section),
        "statuses": figures.statuses(section),
        "missing": figures.missing_numbers(section),
        "spent_micros": sum(line.spent_micros for line in section.spending),
        "points": open_points(section.confirmed, sorted({(row[0], row[1]) for row in section.parsers})),
        "command": command(section, made),
    }


def command(section: Section, made: Figures) -> str:
    """The command that makes this report again."""
    period = made.period
    parts = ["tagtrail report", f"--collection {_quoted(section.collection)}"]
    parts += [f"--hashtag {_quoted(made.hashtag)}"] if made.hashtag is not None else []
    parts += ["--days 0"] if period.begin is None else [f"--since {_moment(period.begin)}"]
    parts += [f"--until {_moment(period.end)}", f"--as-of {_moment(period.as_of)}"]
    return " ".join(parts)


def _quoted(text: str) -> str:
    from shlex import quote

    return quote(text)


def spark(line: list[tuple[int, float]]) -> str:
    """The points of a small growth line in a box of 100 by 30, over logarithms of age and of growth."""
    from math import log

    if len(line) < 2:
        return ""
    left, right = log(line[0][0]), log(line[-1][0])
    top = max(log(max(ratio, 1e-9)) for _, ratio in line) or 1.0
    points = ((log(age), log(max(ratio, 1e-9)) / max(top, 1e-9)) for age, ratio in line)
    return " ".join(f"{2 + 96 * (x - left) / (right - left):.1f},{28 - 26 * max(0.0, y):.1f}" for x, y in points)


def when(moment: datetime | None) -> str:
    """A time to the minute, in UTC."""
    return UNKNOWN if moment is None else f"{minute(moment)} UTC"


def minute(moment: datetime | None) -> str:
    """A time to the minute, where UTC is said elsewhere."""
    return UNKNOWN if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def _age(seconds: int) -> str:
    """An age that no line breaks: `24 h`."""
    return aged(seconds).replace(" ", "\u00a0")


def _moment(moment: datetime) -> str:
    """A time as a command takes it, exactly."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _day(at: float) -> str:
    """The UTC date of a time in seconds since the epoch."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def usd(micros: int) -> str:
    """Millionths of a US dollar as dollars."""
    return f"{dollars(micros / 1_000_000)} USD"


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


_POINTS: Final = {
    "hashtag_tiktok_only": "A hashtag import finds TikTok posts only today (the vendor: others coming soon).",
    "count_per_hashtag": "The number that an import asks for is posts per hashtag.",
    "item_url": "Every listed item carries the post's own URL.",
    "url_before_ready": "Posts are listed before the vendor has indexed them.",
    "gone": "A private or removed post is answered as null in a success, not as an error.",
}
"""Points of the API's contract by the names under which `doctor --live` keeps what it found."""


@dataclass(frozen=True, slots=True)
class OpenPoint:
    """One point: what was assumed, and `unconfirmed`, or what was found and when."""

    assumed: str
    verdict: str


def open_points(findings: Mapping[str, Mapping[str, Any]], channels: Iterable[tuple[str, str]]) -> list[OpenPoint]:
    """The points that bear on data, and those of each (platform, channel) that was measured through."""
    points = _POINTS | {
        f"metadata_{platform}_{channel}": f"Metadata of {platform} through {channel} has the form that was read."
        for platform, channel in sorted(channels)
    }
    return [OpenPoint(assumed, _verdict(findings.get(name))) for name, assumed in points.items()]


def _verdict(finding: Mapping[str, Any] | None) -> str:
    if finding is None:
        return "unconfirmed"
    said = f": {finding['said']}" if finding.get("said") else ""
    return f"{finding['verdict']} on {str(finding['at'])[:10]}{said}"
