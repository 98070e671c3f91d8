"""`tagtrail reparse`: rebuilds rows from stored raw payloads after a mapper change, and says what differs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from blocks.database.store.filters import Filters
from blocks.database.store.reparse import reparse as parse_again
from blocks.database.store.replay import ColumnChanges, Difference
from blocks.memories.responses import open_stored
from blocks.posts.payloads.mapping import PARSER_VERSION
from blocks.settings import Settings, get_settings
from deployments.cli import stores
from deployments.cli.options import Output, Platform, Switch, Typed, moment
from deployments.cli.terminal import counted, tell, write_result

TOLD_EVERY = 10_000
"""Posts between two lines of progress."""


def reparse(
    *,
    dry_run: Switch = False,
    platform: Platform = None,
    collection: Typed = None,
    since: Typed = None,
    output: Output = Output(),
) -> int:
    """Rebuild posts, snapshots, creators and comments from the stored raw payloads, as the mappers are now.

    Nothing is called or bought. Failures of unknown shape that the mappers understand now are closed. Do it with
    --dry-run first: it writes nothing. A second run differs in nothing.

    Parameters
    ----------
    dry_run
        Only say what would differ.
    platform
        Only this platform.
    collection
        Only posts of this collection.
    since
        Only payloads that came since: 2026-11-01, 2026-11-01T08:00Z, or 7d, 24h.
    """
    settings = get_settings()
    filters = Filters(
        collection=collection,
        platform=platform,
        since=None if since is None else moment("--since", since, datetime.now(UTC)),
    )
    difference = _carried_out(settings, filters, dry_run=dry_run)
    write_result(as_json(difference, dry_run=dry_run), lines(difference, dry_run=dry_run), json=output.json)
    return 0


def _carried_out(settings: Settings, filters: Filters, *, dry_run: bool) -> Difference:
    with stores.opened(settings) as store:
        if store is None:
            return Difference()
        return asyncio.run(
            parse_again(
                store,
                open_answer=open_stored,
                filters=filters,
                comments=settings.tagtrail_comments,
                plan=settings.snapshot_plan,
                dry_run=dry_run,
                progress=lambda done: tell(f"{done:,} posts …") if done % TOLD_EVERY == 0 else None,
            )
        )


def as_json(difference: Difference, *, dry_run: bool) -> dict[str, Any]:
    """The difference for `--json`; examples are `platform:post_id`, of creators `platform:author_id`."""
    return {"dry_run": dry_run, "parser_version": PARSER_VERSION, **difference.as_dict()}


def lines(difference: Difference, *, dry_run: bool) -> list[str]:
    """The difference as sentences; names of columns and ids of posts, never their contents."""
    parsed = counted(difference.answers, "stored payload")
    sentences = [f"{parsed} parsed with version {PARSER_VERSION} of the mappers."]
    if difference.is_empty:
        sentences.append("Nothing differs.")
    elif dry_run:
        sentences.append("This would differ (nothing was written):")
    else:
        sentences.append("This differed, and is written:")
    for table in ("posts", "snapshots", "creators", "comments"):
        numbers = [
            f"{count:,} {name}"
            for name, count in (
                ("touched", difference.touched[table]),
                ("added", difference.added[table]),
                ("removed", difference.removed[table]),
            )
            if count
        ]
        if numbers:
            sentences.append(f"{table}: {', '.join(numbers)}")
        columns = sorted(difference.columns.get(table, {}).items())
        sentences += [f"  {name}: {_column(changes)}" for name, changes in columns]
    for count, words in (
        (difference.recovered_posts, "posts had no numbers and have some now"),
        (difference.recovered_snapshots, "measurements came out of payloads that nobody understood"),
        (difference.gone, "posts are gone, as their payload says"),
        (difference.resolved_failures, "failures are closed"),
        (difference.not_understood, "payloads are understood by no mapper"),
        (difference.no_longer_understood, "posts have a payload that was understood once; their rows stay as they are"),
        (
            difference.taken_back,
            "payloads are about another post: the numbers that came from them are taken back, the payloads are kept",
        ),
        (difference.restamped, "posts differ in nothing but the version"),
        (difference.missing, "payloads have no post, or nothing is left of them"),
    ):
        if count:
            sentences.append(f"{count:,} {words}")
    return sentences


def _column(changes: ColumnChanges) -> str:
    counts = [
        f"{count:,} {name}"
        for name, count in (("gained", changes.gained), ("lost", changes.lost), ("changed", changes.changed))
        if count
    ]
    return f"{', '.join(counts)} (such as {', '.join(changes.examples)})"
