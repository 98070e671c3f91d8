"""A run's typed result: what was asked for, what came of it, what it cost; in one word, and in one sentence."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from blocks.dedup_keys import urls_shown
from blocks.errors import TagtrailError
from blocks.outside_words import for_log
from flows.steps.run.halt_switch import Stopped
from flows.steps.run.request import RunRequest

Outcome = Literal["done", "attention", "failed", "halted", "cancelled"]

UNFINISHED = ("planned", "sending", "submitted", "collecting")
"""Ledger states in which a run that waited for its imports was to find none at its end."""

NEEDS_A_LOOK = ("empty", "ambiguous")
"""Ledger states in which an import needs somebody (exit status 3)."""

MAX_NAMES, MAX_REASONS = 5, 3
"""So many imports that were not accepted, and reasons for it, a run's message names."""

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
        return 2 if self.wrong_usage else EXIT_STATUS.get(self.outcome, INTERRUPTED)

    @property
    def error(self) -> RunEnded | None:
        """What a flow that calls this one meets; None where the run is done."""
        if self.outcome in ("done", "attention"):
            return None
        return RunFailed(self) if self.outcome == "failed" else RunHalted(self)

    @property
    def seconds(self) -> float:
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


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run came to its end, as far as its outcome and its message depend on it."""

    request: RunRequest
    halted: TagtrailError | None = None
    """What halted it."""
    error: TagtrailError | None = None
    """What ended it otherwise: mostly a database that cannot be used."""
    broken: BaseException | None = None
    """An error that is not Tagtrail's own: a cancellation, or a fault of ours."""
    posts: int = 0
    """How many posts it took in."""
    some_full: bool = False
    """Whether a collection's own cap is reached, in a run over all collections."""
    has_callback: bool = False
    """Whether the service calls back at an import's end."""

    @property
    def fault(self) -> TagtrailError | None:
        """What ended the run before its time, other than a halt."""
        return self.error or (self.halted if self.halted is not None and not self.halted.halts else None)


def _sums_differ(ending: Ending, summary: RunSummary) -> str | None:
    """Two ways of counting must agree: what this run took in, and what the database accounts for."""
    parts = summary.enriched + summary.failed + summary.gone + summary.pending
    if parts != summary.requested:
        return f"requested {summary.requested} posts, but enriched + failed + gone + pending = {parts}"
    if summary.requested < ending.posts:
        return f"the run took in {ending.posts} posts, but the database accounts for {summary.requested}"
    return None


def outcome_of(ending: Ending, summary: RunSummary) -> Outcome:
    """What the run came to, by how it ended and what its summary counts."""
    if isinstance(ending.halted, Stopped):
        return "cancelled"
    if ending.halted is not None and ending.halted.halts:
        return "halted"
    if ending.broken is not None or ending.fault is not None or _sums_differ(ending, summary):
        return "failed"
    if summary.imports and all(one.state == "failed" for one in summary.imports):
        return "failed"
    needs = [one for one in summary.imports if one.state in NEEDS_A_LOOK or one.state == "failed"]
    waits = ending.request.wait and (summary.pending > 0 or _unfinished(summary) > 0)
    return "attention" if needs or summary.failed or waits or ending.some_full else "done"


def _unfinished(summary: RunSummary) -> int:
    return sum(one.state in UNFINISHED for one in summary.imports)


def message_of(ending: Ending, summary: RunSummary) -> str:
    """One sentence: what ended the run early, if anything did, what goes on, and the counts."""
    not_accepted = [one for one in summary.imports if one.state == "failed"]
    # Asked for with `fresh`, the imports would be bought anew.
    same = "the same command without --fresh" if ending.request.fresh else "the same command"
    if isinstance(ending.halted, Stopped):
        left = "what it left is held" + (f"; {same} continues" if ending.request.collection is not None else "")
        reason = f"cancelled ({ending.halted}): {left}. "
    elif ending.halted is not None and ending.halted.halts:
        reason = f"halted: {ending.halted}. {same.capitalize()} continues. "
        if difference := _sums_differ(ending, summary):
            reason += f"The sums do not agree either ({difference}); nothing was lost, please report this. "
    elif (fault := ending.fault) is not None:
        reason = f"failed: {fault}. "
    elif isinstance(ending.broken, asyncio.CancelledError | KeyboardInterrupt):
        reason = f"cancelled; {same} goes on where it stopped. "
    elif ending.broken is not None:
        reason = "failed: a fault of Tagtrail's own; see the log. "
    elif difference := _sums_differ(ending, summary):
        reason = f"failed: the sums do not agree ({difference}); nothing was lost, please report this. "
    elif not_accepted and len(not_accepted) == len(summary.imports):
        reason = f"failed: no import was accepted ({_reasons(not_accepted)}). "
    else:
        reason = ""
    parts = [f"{summary.enriched} enriched"]
    if summary.fresh:
        parts[0] += f" ({summary.fresh} of them fresh already)"
    parts += [f"{count} {name}" for name in ("failed", "gone") if (count := getattr(summary, name))]
    if summary.pending:
        kinds = ", ".join(kinds_of_pending(summary))
        parts.append(f"{summary.pending} pending" + (f" ({kinds})" if kinds else ""))
    empty = sum(one.state in NEEDS_A_LOOK for one in summary.imports)
    if empty:
        parts.append(f"{plural(empty, 'import')} empty or ambiguous")
    if not_accepted and "no import was accepted" not in reason:
        parts.append(f"{plural(len(not_accepted), 'import')} not accepted ({_reasons(not_accepted)})")
    if unfinished := _unfinished(summary):
        parts.append(f"{plural(unfinished, 'import')} {'not finished' if ending.request.wait else _left_to(ending)}")
    return for_log(f"{reason}{plural(summary.requested, 'post')}: {', '.join(parts)}; about {summary.cost_usd:.2f} USD")


def kinds_of_pending(summary: RunSummary) -> list[str]:
    """Why posts are pending, each kind with its count."""
    counts = {"held": summary.held, "out of room": summary.out_of_room, "waiting": summary.waiting}
    return [f"{count} {kind}" for kind, count in counts.items() if count]


def going_on(summary: RunSummary) -> list[str]:
    """For each kind of pending posts a sentence with the one command that goes on."""
    sentences = []
    if summary.held or summary.held_imports:
        what = [plural(summary.held, "post")] if summary.held else []
        what += [f"{plural(summary.held_imports, 'import')} not sent"] if summary.held_imports else []
        of = "" if summary.collection is None else f" --collection {shlex.quote(summary.collection)}"
        sentences.append(
            f"held by a person's stop: {' and '.join(what)}; `tagtrail retry --held{of}` goes on, "
            f"`tagtrail retry --held{of} --close` gives up"
        )
    if summary.out_of_room:
        sentences.append(
            f"out of room: {plural(summary.out_of_room, 'post')}, for which the run's cap has no money left; the same "
            "command goes on, under a cap of its own"
        )
    if summary.waiting:
        sentences.append(
            f"waiting: {plural(summary.waiting, 'post')}; the sweep (`collect-imports/sweep`) goes on by itself, or "
            "the same command"
        )
    return sentences


def _reasons(not_accepted: Sequence[ImportSummary]) -> str:
    """Which imports the service did not accept and why, those with one reason together; three reasons at most.

    Of posts and creators without the service's words, which may name somebody: a run's message is shown in Prefect.
    """
    named_by_why: dict[str, list[str]] = {}
    for one in not_accepted:
        why = one.note or ""
        if one.kind != "hashtag":
            why = why.partition(': "')[0]
        if not why or (one.kind != "hashtag" and '"' in why):
            why = "see `tagtrail export imports`"
        named_by_why.setdefault(why, []).append(one.name)
    reasons = [
        f"{', '.join(names[:MAX_NAMES])}{' …' * (len(names) > MAX_NAMES)}: {why}" for why, names in named_by_why.items()
    ]
    return "; ".join(reasons[:MAX_REASONS]) + ("; …" if len(reasons) > MAX_REASONS else "")


def _left_to(ending: Ending) -> str:
    """Who collects the imports of a run that does not wait for them."""
    sweep = "the sweep (collect-imports/sweep), or the same run with wait=true, collects"
    return f"under way; the service calls back, else {sweep}" if ending.has_callback else f"under way; {sweep}"
