"""A run's typed result: what was asked for, what came of it, and what it cost."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from blocks.dedup_keys import urls_shown
from blocks.errors import TagtrailError

Outcome = Literal["done", "attention", "failed", "halted", "cancelled"]

UNFINISHED = ("planned", "sending", "submitted", "collecting")
"""Ledger states in which a run that waited for its imports was to find none at its end."""

EXIT_STATUS: dict[str, int] = {"done": 0, "failed": 1, "attention": 3, "halted": 4}

INTERRUPTED = 130
"""The exit status of a run that a person stopped, as after Ctrl-C."""


SAMPLE = "A hashtag import is a sample, not a census: the newest posts that the service sees, never all of them."

CREATORS = (
    "Imports of Instagram and YouTube creators were seen to be accepted and to stay empty for ever; posts that are "
    "known by URL come in by `tagtrail import urls` or `tagtrail enrich`."
)

TODAY = (
    "Today the real service's hashtag import finds TikTok posts only; Instagram posts come in by URL and by creator."
)


class ImportSummary(BaseModel):
    """One import as this run leaves it; `how` is submitted, attached or reused.

    Of an import that the run used again, and that listed nothing more, nothing is `new`: all its posts are `known`.
    """

    import_id: str
    task_id: str | None
    kind: str
    hashtag: str | None
    how: str
    state: str
    requested: int
    seen: int
    new: int
    known: int
    withheld: int = 0
    """Listed posts that are not kept, because they were erased on request."""
    overlap: int | None = None
    """Posts that the hashtag's previous import in this collection listed as well; None where there is none."""
    not_seen_again: int | None = None
    """Posts that the previous import listed and this one did not."""
    planned_at: datetime
    note: str | None = None

    @property
    def name(self) -> str:
        """What it is called (see `named`)."""
        return named(self.kind, self.hashtag, self.import_id, self.requested)


class LeadingPost(BaseModel):
    """A post that leads in plays (or likes): where it can be seen, and its numbers; no name and no caption."""

    link: str
    plays: int | None
    likes: int | None


class RunSummary(BaseModel):
    """The result of a run.

    `requested` = `enriched` + `failed` + `gone` + `pending` (distinct posts; `fresh` are those of the
    enriched whose metadata was young enough not to be bought again). Costs are US dollars, estimates by
    the price table; `usd_per_1000_new` is None where no new post was enriched.

    `pending` = `held` (a person stopped what asked for them) + `out_of_room` (the cap of the run that asked for them
    is used up) + `waiting` (a sweep goes on with them). `held_imports` were never sent.
    """

    run_id: str
    flow: str
    outcome: Outcome
    message: str
    collection: str | None = None
    requested: int = 0
    enriched: int = 0
    failed: int = 0
    gone: int = 0
    pending: int = 0
    held: int = 0
    out_of_room: int = 0
    waiting: int = 0
    held_imports: int = 0
    fresh: int = 0
    new_enriched: int = 0
    imports: list[ImportSummary] = Field(default_factory=list)
    platforms: dict[str, int] = Field(default_factory=dict)
    leading: list[LeadingPost] = Field(default_factory=list)
    """The posts of the run that lead in plays, or in likes where they have no plays."""
    calls: dict[str, int] = Field(default_factory=dict)
    failures: dict[str, int] = Field(default_factory=dict)
    cost_usd: float = 0.0
    usd_per_1000_new: float | None = None
    halted_because: str | None = None
    wrong_usage: bool = False
    """What was asked for could not be used; nothing was sent."""
    notes: list[str] = Field(default_factory=list)
    started_at: datetime
    finished_at: datetime

    @property
    def exit_status(self) -> int:
        """The command line's exit status for this outcome."""
        return 2 if self.wrong_usage else EXIT_STATUS.get(self.outcome, INTERRUPTED)

    @property
    def seconds(self) -> float:
        """How long the run took."""
        return (self.finished_at - self.started_at).total_seconds()


def named(kind: str, hashtag: str | None, import_id: str, requested: int = 0) -> str:
    """What an import is called where Prefect keeps it: its hashtag, `12 URLs (1f2e3d4c)`, else its kind and the first
    letters of its id; never a creator's name (`blocks.dedup_keys.import_shown` has that for terminals)."""
    if kind == "urls" and requested:
        return urls_shown(requested, import_id)
    return f"#{hashtag}" if hashtag else f"{kind} {import_id[:8]}"


def plural(count: int, noun: str) -> str:
    """`1 post`, `2 posts`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


class RunEnded(TagtrailError):
    """Base of `RunHalted` and `RunFailed`: a run ended before it was done; `summary` says what came of it."""

    def __init__(self, summary: RunSummary) -> None:
        self.summary = summary
        super().__init__(summary.message)


class RunHalted(RunEnded):
    """The run stopped buying: no credits, a refused key or account, or a spend cap. The same call continues it."""


class RunFailed(RunEnded):
    """The run failed: every import failed, what was asked for cannot be used, or Tagtrail met a fault of its own."""
