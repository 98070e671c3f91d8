"""What a run may cost, before anything is called: `run --dry-run`."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from blocks.database.store import imports, spend
from blocks.database.store.imports import OpenImport
from blocks.memories.budget import Estimate, estimate
from blocks.memories.errors import StoreError, UsageError
from blocks.memories.identity import parse_creator_url
from blocks.memories.posts.record import Channel
from blocks.settings import Prices, Settings
from deployments.cli import stores
from deployments.cli.options import Output
from deployments.cli.terminal import counted, write_json
from flows.steps.summary import CREATORS, TODAY, named
from flows.steps.wish import NO_CAP_USD, Wish

LATEST: Final = 1000
"""Imports of the ledger that are looked through for one that serves."""

SERVES: Final = ("submitted", "collecting", "complete", "empty")
"""States of imports that a run uses again, or follows, instead of buying its own."""


def tell_estimate(wish: Wish, posts: int, settings: Settings, output: Output) -> int:
    """Write the most that a wish for imports, `posts` each, may cost by the price table; calls nothing."""
    order = wish.channels(settings.tagtrail_channel_order)
    kind = wish.imports[0].kind
    cost = _cost(wish, posts, settings.tagtrail_prices, order[0])
    cap = None if wish.max_spend_usd >= NO_CAP_USD else wish.max_spend_usd
    known = _known(wish, settings)
    if output.json:
        write_json(_facts(wish, posts, order[0], cost, cap) | _today(settings, known))
        return 0
    lines = [
        _what(wish, posts),
        f"Import: up to {cost.import_micros / 1e6:,.2f} USD.",
        f"Metadata: up to {cost.metadata_micros / 1e6:,.2f} USD through {order[0]}, one call a post.",
        f"In all: up to {cost.total_usd:,.2f} USD, estimated by the price table; less where imports are used again or "
        "posts are measured already.",
    ]
    if cap is not None:
        verdict = "would halt this run before its end" if cost.total_usd > cap else "leaves room for it"
        lines.append(f"The cap of {cap:,.2f} USD per run {verdict}.")
    lines += _more(wish, settings, known)
    if kind != "urls":
        lines.append(TODAY if kind == "hashtag" else CREATORS)
    lines.append("Nothing was called.")
    print("\n".join(lines))  # noqa: T201
    return 0


def _cost(wish: Wish, posts: int, prices: Prices, channel: Channel) -> Estimate:
    """Each post imported once, and its metadata bought once through the first channel."""
    if wish.imports[0].kind == "urls":
        calls = sum(prices.metadata_micros(ref.platform, channel) for ref, _ in wish.posts)
        return Estimate(prices.import_micros(len(wish.posts)), calls)
    if wish.imports[0].kind == "hashtag":
        return estimate(len(wish.imports), posts, prices, [channel])
    platforms = {parse_creator_url(one.wanted["creator"])[0] for one in wish.imports}
    return estimate(len(wish.imports), posts, prices, [channel], platforms=platforms)


def _what(wish: Wish, posts: int) -> str:
    """What is asked for, in a sentence."""
    kind, count = wish.imports[0].kind, len(wish.imports)
    if kind == "urls":
        return f"{counted(len(wish.posts), 'post')} by URL, in {counted(count, 'import')}."
    each = ", ".join(f"#{one.wanted['hashtag']}" if kind == "hashtag" else one.wanted[kind] for one in wish.imports)
    most = counted(wish.expected_posts, "post")
    return f"{counted(count, kind)} ({each}), {counted(posts, 'post')} each: up to {most}."


@dataclass(frozen=True)
class _Known:
    """What the database knows of this account: micro-dollars of today, and imports that would serve the wish."""

    spent_micros: int
    reused: list[OpenImport]


def _known(wish: Wish, settings: Settings) -> _Known | None:
    """None where the account or its database is not known: an estimate does without."""
    key = settings.memories_api_key.get_secret_value()
    if not key:
        return None
    # As the client names the account in the database.
    account = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    with suppress(StoreError, UsageError), stores.opened(settings, quiet=True) as store:
        if store is None:
            return None
        now = datetime.now(UTC)
        with store.connect() as conn:
            spent = spend.day_total(conn, account, spend.day_of(now))
            latest = [] if wish.fresh else imports.find_imports(conn, "", limit=LATEST)
        since = now - timedelta(hours=wish.reuse_hours)
        young = [one for one in latest if one.account == account and one.state in SERVES and one.since >= since]
        fits = ((one, wanted) for wanted in wish.imports for one in young if one.wish == wanted.key)
        serving = {wanted.key: one for one, wanted in fits if one.requested >= wanted.requested}
        return _Known(spent, list(serving.values()))
    return None


def _more(wish: Wish, settings: Settings, known: _Known | None) -> list[str]:
    """The day's cap, and imports that would be used again."""
    lines = []
    cap = settings.tagtrail_max_spend_usd_per_day
    if cap is not None:
        left = "" if known is None else f"; {max(0.0, cap - known.spent_micros / 1e6):,.2f} USD of it are left today"
        lines.append(f"The cap per UTC day is {cap:,.2f} USD{left}.")
    for one in [] if known is None else known.reused:
        what = named(one.kind, one.hashtag, one.import_id)
        lines.append(f"An import of {what} of the last {wish.reuse_hours:g} h would be used again: it costs nothing.")
    return lines


def _today(settings: Settings, known: _Known | None) -> dict[str, object]:
    return {
        "max_spend_usd_per_day": settings.tagtrail_max_spend_usd_per_day,
        "spent_today_usd": None if known is None else known.spent_micros / 1e6,
        "reusable_imports": None if known is None else [one.import_id for one in known.reused],
    }


def _facts(wish: Wish, posts: int, channel: str, cost: Estimate, cap: float | None) -> dict[str, object]:
    kind = wish.imports[0].kind
    each: dict[str, object] = {"urls": len(wish.posts), "imports": len(wish.imports)}
    if kind != "urls":
        each = {f"{kind}s": [one.wanted[kind] for one in wish.imports], f"posts_per_{kind}": posts}
    return {
        "dry_run": True,
        **each,
        "posts": wish.expected_posts,
        "channel": channel,
        "import_usd": cost.import_micros / 1e6,
        "metadata_usd": cost.metadata_micros / 1e6,
        "total_usd": cost.total_usd,
        "max_spend_usd": cap,
    }
