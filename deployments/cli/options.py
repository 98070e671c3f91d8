"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, Token

from blocks.errors import NotAPostUrl, UsageError
from blocks.posts.identity import parse_post_url
from blocks.posts.platforms.registry import PLATFORMS
from blocks.settings import LEAST_USD, Settings
from flows.steps.run.request import NO_CAP_USD, ChannelChoice, Library

if TYPE_CHECKING:
    PlatformName = str
else:
    PlatformName = Literal[*PLATFORMS]

Switch = Annotated[bool, Parameter(negative="", show_default=False)]
"""On where it is named; it has no negation."""

Typed = Annotated[str | None, Parameter(show_default=False)]
"""A text as typed; None where it is left out."""

Platform = Annotated[PlatformName | None, Parameter(show_default=False)]
"""One platform; None for all."""

Spend = Annotated[str | None, Parameter(show_default=False)]
"""US dollars, or `none`; see `spend_cap`."""


def _whole(_type: Any, tokens: Sequence[Token]) -> int:
    """A whole number as typed: nothing is rounded, and nothing is read into `1e3` or `1_000`."""
    token = tokens[0]
    if re.fullmatch(r"[+-]?[0-9]{1,18}", typed := token.value.strip()) is None:
        raise UsageError(f"{token.keyword} is a whole number, such as 25; not {token.value}")
    return int(typed)


def _number(_type: Any, tokens: Sequence[Token]) -> float:
    """A number of 0 or more as typed, with or without a fraction."""
    token = tokens[0]
    if re.fullmatch(r"\+?([0-9]{1,18}(\.[0-9]*)?|\.[0-9]+)", typed := token.value.strip()) is None:
        raise UsageError(f"{token.keyword} is a number of 0 or more, such as 12 or 0.5; not {token.value}")
    return float(typed)


Whole = Parameter(converter=_whole)
"""A whole number is meant; which ones are allowed, the command says."""

Number = Parameter(converter=_number)
"""A number of 0 or more is meant, and neither infinity nor "not a number"."""

Port = Annotated[int | None, Parameter(converter=_whole, show_default=False)]
"""A port to listen on; None where the command chooses one."""

Hours = Annotated[float | None, Parameter(converter=_number, show_default=False)]
"""Hours; None where the settings decide."""


def spend_cap(typed: str | None, of_settings: float | None) -> float:
    """The cap on a run's spending in US dollars; a very large number stands for "none".

    Raises:
        UsageError: not a number of 0 or more, nor `none`.
    """
    if typed is None:
        return NO_CAP_USD if of_settings is None else of_settings
    if typed.strip().lower() == "none":
        return NO_CAP_USD
    try:
        cap = math.nan if "_" in typed else float(typed)
    except ValueError:
        cap = math.nan
    if not 0 <= cap <= NO_CAP_USD:
        raise UsageError(f"--max-spend is an amount of US dollars, such as 2.50, or none; not {typed}")
    if 0 < cap < LEAST_USD:
        raise UsageError(f"--max-spend is 0, or 0.000001 US dollars and more; not {typed}")
    return cap


def moment(option: str, typed: str, now: datetime) -> datetime:
    """A time as typed: a date, a time (UTC unless it says otherwise), or so long ago (`7d`, `24h`).

    Raises:
        UsageError: none of these; the message names the option.
    """
    if ago := re.fullmatch(r"(\d{1,5})([dh])", typed.strip()):
        count = int(ago[1])
        return now - (timedelta(days=count) if ago[2] == "d" else timedelta(hours=count))
    try:
        read = datetime.fromisoformat(typed.strip())
        # In UTC it may lie before the year 1, or after 9999.
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} is a date such as 2026-11-01, a time, or 7d or 24h; not {typed}") from None


@Parameter(name="*")
@dataclass(frozen=True)
class Loud:
    """The one option of commands that have no JSON.

    Parameters
    ----------
    verbose
        Show the traceback of an error.
    """

    verbose: Switch = False


@Parameter(name="*")
@dataclass(frozen=True)
class Output(Loud):
    """How a command speaks.

    Parameters
    ----------
    json
        Write the result as JSON to standard output, and nothing else.
    """

    json: Switch = False


@Parameter(name="*")
@dataclass(frozen=True)
class Buying:
    """Where a run buys metadata, and for how much at most.

    Parameters
    ----------
    channel
        Where metadata is bought; `auto` tries the settings' order, apify first.
    max_spend
        Cap on this run's spending in US dollars, or `none`; TAGTRAIL_MAX_SPEND_USD_PER_RUN by itself.
    """

    channel: ChannelChoice = "auto"
    max_spend: Spend = None

    def parameters(self, settings: Settings) -> dict[str, Any]:
        """As the flows take them."""
        cap = spend_cap(self.max_spend, settings.tagtrail_max_spend_usd_per_run)
        return {"channel": self.channel, "max_spend_usd": cap}


@Parameter(name="*")
@dataclass(frozen=True)
class RunOptions(Buying):
    """What every run takes that is asked for posts.

    Parameters
    ----------
    collection
        The collection (a named set of hashtags) under which the posts are kept.
    max_age
        Hours; younger metadata is not bought again; TAGTRAIL_MAX_AGE_HOURS by itself.
    dry_run
        Print what the run may cost, and call nothing.
    """

    collection: str = "default"
    max_age: Hours = None
    dry_run: Switch = False

    def parameters(self, settings: Settings) -> dict[str, Any]:
        """As the flows take them."""
        max_age_hours = settings.tagtrail_max_age_hours if self.max_age is None else self.max_age
        return {**super().parameters(settings), "collection": self.collection, "max_age_hours": max_age_hours}


@Parameter(name="*")
@dataclass(frozen=True)
class ImportOptions(RunOptions):
    """What runs with imports take besides.

    Parameters
    ----------
    namespace
        The API's `unique_id`; the collection's name by itself.
    library
        Where the API keeps the imported videos; what is public can never be deleted.
    permanent
        Say that a public import is meant.
    fresh
        Buy new imports, even where young ones could be used again (for metadata: --max-age 0).
    """

    namespace: str = ""
    library: Library = "private"
    permanent: Switch = False
    fresh: Switch = False

    def parameters(self, settings: Settings) -> dict[str, Any]:
        """As the flows take them."""
        return {
            **super().parameters(settings),
            "namespace": self.namespace,
            "library": self.library,
            "permanent": self.permanent,
            "reuse_hours": settings.tagtrail_import_reuse_hours,
            "fresh": self.fresh,
        }


MAX_REASONS = 50
"""So many wrong lines of a file are listed with their reasons; of the others the numbers alone."""


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
        raise UsageError(_refusal(where, len(lines), wrong))
    return [line for _, line in lines]


def _why_no_post(line: str) -> str | None:
    try:
        parse_post_url(line)
    except NotAPostUrl as error:
        return str(error)
    return None


def _refusal(where: str, count: int, wrong: Sequence[tuple[int, str]]) -> str:
    """Each wrong line's number with its own reason."""
    if len(wrong) == 1:
        return f"line {wrong[0][0]} of {where}: {wrong[0][1]}; nothing was submitted"
    sentences = [f"{len(wrong)} of the {count} addresses in {where} name no post, and nothing was submitted:"]
    sentences += [f"  line {number}: {reason}" for number, reason in wrong[:MAX_REASONS]]
    if more := ", ".join(str(number) for number, _ in wrong[MAX_REASONS:]):
        sentences.append(f"  and lines {more}")
    return "\n".join(sentences)
