"""What a run may cost, before anything is called: `--dry-run`, and one line before each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from blocks.database.store import Connection, accounts, imports, money, work
from blocks.database.store.imports import FoundPost
from blocks.database.store.statements import Key
from blocks.database.tables import Import
from blocks.dedup_keys import import_shown
from blocks.errors import StoreError, UsageError
from blocks.memories.requests import account_name
from blocks.posts.identity import parse_creator_url
from blocks.posts.record import Channel, PostRef
from blocks.quotas.budget import Estimate, estimate
from blocks.settings import Settings
from deployments.cli import stores
from deployments.cli.options import Output
from deployments.cli.terminal import counted, say, tell, write_json
from flows.steps.run.request import RequestedImport, RunRequest
from flows.steps.run.summary import CREATORS, TODAY

LATEST: Final = 1000
"""Imports of the ledger that are looked through for one that serves."""

SERVES: Final = ("submitted", "collecting", "complete", "empty")
"""States of imports that a run uses again, or follows, instead of buying its own."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database knows of a request: micro-dollars of today, imports that would serve it, and what is measured.

    `spent_micros` and `reused` (by the request's key) are of the account, None and empty where that is not known;
    `listed` are the posts of the imports in `reused`; `spared` those posts, given or listed, that would not be bought.
    """

    spent_micros: int | None = None
    reused: dict[str, Import] = field(default_factory=dict)
    listed: dict[str, list[FoundPost]] = field(default_factory=dict)
    spared: set[Key] = field(default_factory=set)
    continued: set[str] = field(default_factory=set)
    """Keys of requests whose imports are continued: of them `listed` has only what is open."""


def tell_estimate(
    request: RunRequest,
    settings: Settings,
    output: Output,
    *,
    facts: Mapping[str, object] | None = None,
    lines: Sequence[str] = (),
) -> int:
    """Write the most that a request may cost by the price table; calls nothing.

    `facts` are added to the JSON, `lines` to the text.
    """
    order = request.channels(settings.tagtrail_channel_order)
    known = _known(request, settings)
    cost = _cost(request, settings, known, order[0])
    cap = request.cap_usd
    if output.json:
        write_json(_facts(request, order[0], cost, cap) | _today(settings, known) | dict(facts or {}))
        return 0
    sentences = [_what(request)]
    if request.imports:
        sentences.append(f"Import: up to {cost.import_micros / 1e6:,.2f} USD.")
    sentences += [
        f"Metadata: up to {cost.metadata_micros / 1e6:,.2f} USD through {order[0]}, one call a post.",
        f"In all: up to {cost.total_usd:,.2f} USD, estimated by the price table; imports that are used again and posts "
        "that are measured already cost nothing, and are left out as far as they are known here.",
    ]
    if known.spared:
        sentences.append(
            f"Not asked for again: {counted(len(known.spared), 'post')} of the last {request.max_age_hours:g} h."
        )
    if cap is not None:
        verdict = "would halt this run before its end" if cost.total_usd > cap else "leaves room for it"
        sentences.append(f"The cap of {cap:,.2f} USD per run {verdict}.")
    sentences += _more(request, settings, known)
    if request.imports and request.imports[0].kind != "urls":
        sentences.append(TODAY if request.imports[0].kind == "hashtag" else CREATORS)
    say("\n".join([*sentences, *lines, "Nothing was called."]))
    return 0


def tell_cost(request: RunRequest, settings: Settings) -> None:
    """One line on standard error, before a run: the most that it may cost by the price table."""
    cost = _cost(request, settings, _known(request, settings), request.channels(settings.tagtrail_channel_order)[0])
    if not cost.total_micros:
        tell("Estimate: nothing to buy.")
        return
    both = {"imports": cost.import_micros, "metadata": cost.metadata_micros}
    parts = ", ".join(f"{micros / 1e6:,.2f} for {name}" for name, micros in both.items() if micros)
    cap = request.cap_usd
    halts = "" if cap is None or cost.total_usd <= cap else f"; the cap of {cap:,.2f} USD per run ends it before"
    tell(f"Estimate: up to {cost.total_usd:,.2f} USD by the price table ({parts}){halts}.")


def _cost(request: RunRequest, settings: Settings, known: _Known, channel: Channel) -> Estimate:
    """Each post imported once, and its metadata bought once through the first channel, but for what is there."""
    prices = settings.tagtrail_prices

    def price(refs: Sequence[PostRef]) -> int:
        return sum(prices.metadata_micros(ref.platform, channel) for ref in refs if _key(ref) not in known.spared)

    import_micros, metadata_micros = 0, price([ref for ref, _ in request.posts])
    for one in request.imports:
        serving = known.reused.get(one.key)
        if serving is None:
            import_micros += prices.import_micros(one.requested)
        elif serving.state == "complete":
            # What it lists later than at its end is billed; that of one under way is reserved already.
            import_micros += prices.import_micros(max(0, serving.requested - serving.seen - serving.withheld))
        if one.kind == "urls":
            continue
        platforms = None if one.kind == "hashtag" else [parse_creator_url(one.wanted["creator"])[0]]
        listed = [post.ref for post in known.listed.get(one.key, ())]
        # Also a finished import that listed fewer than were asked for may list more by now.
        known_posts = serving.seen if serving is not None and one.key in known.continued else len(listed)
        to_come = max(0, (serving or one).requested - known_posts)
        metadata_micros += price(listed)
        metadata_micros += estimate(1, to_come, prices, [channel], platforms=platforms).metadata_micros
    return Estimate(import_micros, metadata_micros)


def _what(request: RunRequest) -> str:
    """What is asked for, in a sentence."""
    if not request.imports:
        return f"{counted(len(request.posts), 'post')} by URL, without an import."
    kind, count = request.imports[0].kind, len(request.imports)
    if kind == "urls":
        return f"{counted(len(request.posts), 'post')} by URL, in {counted(count, 'import')}."
    each = ", ".join(f"#{one.wanted['hashtag']}" if kind == "hashtag" else one.wanted[kind] for one in request.imports)
    most = counted(request.expected_posts, "post")
    return f"{counted(count, kind)} ({each}), {counted(request.imports[0].requested, 'post')} each: up to {most}."


def _known(request: RunRequest, settings: Settings) -> _Known:
    """What the database knows; an estimate does without it where it is not there, or its account is not known."""
    key = settings.memories_api_key.get_secret_value()
    name = account_name(key, settings.tagtrail_account) if key else None
    with suppress(StoreError, UsageError), stores.opened(settings, quiet=True) as store:
        if store is None:
            return _Known()
        with store.connect() as conn:
            if name is not None and not settings.tagtrail_account.strip():
                name = accounts.look_up_account(conn, name, "default")
            return _read(conn, request, name, datetime.now(UTC))
    return _Known()


def _read(conn: Connection, request: RunRequest, account: str | None, now: datetime) -> _Known:
    serving: dict[str, Import] = {}
    open_only: set[str] = set()
    if account is not None and request.imports and not request.fresh:
        since = now - timedelta(hours=request.reuse_hours)
        latest = [one for one in imports.find_imports(conn, "", limit=LATEST) if one.account == account]
        continued = imports.unfinished(conn, account)
        young = [one for one in latest if one.state in SERVES and one.since >= since]
        old = [one for one in latest if one.since < since and one.import_id in continued]
        serving = {wanted.key: one for wanted in request.imports for one in (*old, *young) if _serves(one, wanted)}
        open_only = {key for key, one in serving.items() if one in old}
    listed = {key: imports.found_posts(conn, one.import_id, open_only=key in open_only) for key, one in serving.items()}
    refs = [ref for ref, _ in request.posts] + [post.ref for found in listed.values() for post in found]
    spared = work.spared(conn, refs, "enrich", fresh_after=now - timedelta(hours=request.max_age_hours))
    spent = None if account is None else money.day_total(conn, account, money.day_of(now))
    return _Known(spent, serving, listed, spared, open_only)


def _serves(one: Import, wanted: RequestedImport) -> bool:
    return one.dedup_key == wanted.key and one.requested >= wanted.requested


def _key(ref: PostRef) -> Key:
    return ref.platform, ref.post_id


def _more(request: RunRequest, settings: Settings, known: _Known) -> list[str]:
    """The day's cap, and imports that would be used again."""
    lines = []
    cap = settings.tagtrail_max_spend_usd_per_day
    if cap is not None:
        spent = known.spent_micros
        left = "" if spent is None else f"; {max(0.0, cap - spent / 1e6):,.2f} USD of it are left today"
        lines.append(f"The cap per UTC day is {cap:,.2f} USD{left}.")
    for one in known.reused.values():
        what = import_shown(one.kind, one.hashtag, one.wanted, one.import_id)
        lines.append(
            f"An import of {what} of the last {request.reuse_hours:g} h would be used again: it costs nothing."
        )
    return lines


def _today(settings: Settings, known: _Known) -> dict[str, object]:
    spent = known.spent_micros
    return {
        "max_spend_usd_per_day": settings.tagtrail_max_spend_usd_per_day,
        "spent_today_usd": None if spent is None else spent / 1e6,
        "reusable_imports": None if spent is None else [one.import_id for one in known.reused.values()],
        "posts_not_bought_again": len(known.spared),
    }


def _facts(request: RunRequest, channel: str, cost: Estimate, cap: float | None) -> dict[str, object]:
    each: dict[str, object] = {"urls": len(request.posts), "imports": len(request.imports)}
    if request.imports and (kind := request.imports[0].kind) != "urls":
        each = {
            f"{kind}s": [one.wanted[kind] for one in request.imports],
            f"posts_per_{kind}": request.imports[0].requested,
        }
    return {
        "dry_run": True,
        **each,
        "posts": request.expected_posts,
        "channel": channel,
        "import_usd": cost.import_micros / 1e6,
        "metadata_usd": cost.metadata_micros / 1e6,
        "total_usd": cost.total_usd,
        "max_spend_usd": cap,
    }
