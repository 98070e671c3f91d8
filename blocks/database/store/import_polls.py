"""Answers of polls, up to an import's end: listed items become posts and work, each once, in whatever order.

What polls brought that nobody can read is kept as it came, with an open failure that says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, and_, bindparam, case, delete, func, not_, select

from blocks.database.store import erased_names, failures, gaps, leases, money, runs
from blocks.database.store.failures import GivenUp
from blocks.database.store.imports import (
    FoundPost,
    finish_import,
    get,
    imports,
    items,
    move,
    read,
    without_post,
)
from blocks.database.store.posts import ensure_posts
from blocks.database.store.raw_payloads import save_bodies
from blocks.database.store.statements import (
    chunks,
    insert_into,
    posts_among,
    sanitise_key,
    sanitise_text,
    table_of,
    write_rows,
)
from blocks.database.store.work import enqueue
from blocks.database.tables import Failure, Import, Post, Run
from blocks.database.tables.ledger import RUNNING
from blocks.errors import Unreadable
from blocks.posts.identity import item_key
from blocks.posts.platforms.registry import labels
from blocks.posts.record import PostRef

_failures = table_of(Failure)
_posts = table_of(Post)
_runs = table_of(Run)

ODD = "no:odd-"
"""How the key of a listed item begins that cannot be read; the rest is made of its bytes."""

_SHOWN = 120


def odd_key(item: bytes) -> str:
    """The key of a listed item that cannot be read."""
    return ODD + hashlib.sha256(item).hexdigest()[:32]


def give_up_odd(conn: Connection, import_id: str, odd: Mapping[str, bytes], *, run_id: str, now: datetime) -> None:
    """Keep listed items that cannot be read, by their keys, and open a failure for each."""
    hashes = save_bodies(conn, list(odd.values()))
    given_up = [
        GivenUp(
            item_key=f"{import_id}/{key}",
            stage="identify",
            error_class="UnreadableItem",
            message=f"the import listed what is no post, and is kept as it came: {_shown(item)}",
            attempts=0,
            raw_sha256=sha256,
            import_id=import_id,
            run_id=run_id,
        )
        for (key, item), sha256 in zip(odd.items(), hashes, strict=True)
    ]
    failures.give_up(conn, given_up, now)


def _shown(item: bytes) -> str:
    text = item.decode(errors="replace")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"


def keep_unreadable(
    conn: Connection, import_id: str, error: Unreadable, *, run_id: str, now: datetime | None = None
) -> None:
    """Keep the answer to a poll that cannot be read, and open a failure for its import; the first of a row only."""
    known = select(_failures.c.failure_id).where(
        _failures.c.item_key == import_id, _failures.c.stage == "poll", _failures.c.resolved_at.is_(None)
    )
    if conn.execute(known).first() is not None:
        return
    [sha256] = save_bodies(conn, [error.body])
    given_up = GivenUp(
        item_key=import_id,
        stage="poll",
        error_class=error.error_class,
        message=f"{error}; it is kept as it came",
        attempts=1,
        code=error.code,
        raw_sha256=sha256,
        import_id=import_id,
        run_id=run_id,
    )
    failures.give_up(conn, [given_up], leases.clock(conn, now))


def close_unreadable(conn: Connection, import_id: str, now: datetime) -> None:
    """An answer could be read, or the import was given up: close that failure, if there is one."""
    failures.resolve(conn, [import_id], now, stages=("poll",))


RECORDING = (*RUNNING, "complete", "empty")
"""States in which listed items are taken: also late ones, for they are paid for."""


@dataclass(frozen=True, slots=True)
class ItemSeen:
    """One item of a poll's answer; `ref` is None where the URL is missing or names no post of a known platform.

    `odd` holds what was listed and cannot be read as an item, as it came; then the rest is None.
    """

    video_no: str | None
    source_url: str | None
    item_status: str | None
    ref: PostRef | None
    odd: bytes | None = None


@dataclass(frozen=True, slots=True)
class PollResult:
    """What an answered poll brought; `row` is the import as it stands now, with its sums.

    `new_posts` are those that this import lists (or names by URL) for the first time; `new_items` counts them
    together with new items that have no post; `no_url` counts the items whose URL has not come yet, those of the latest
    answer. `recorded` is False where the import's state takes no items, and then nothing was changed.
    """

    row: Import
    new_posts: list[FoundPost]
    new_items: int
    no_url: int
    recorded: bool = True

    @property
    def quiet_polls(self) -> int:
        """Answered polls in a row that brought nothing new."""
        return self.row.quiet_polls


def key_of(item: ItemSeen) -> str | None:
    """`platform:post_id`, else `url:HASH`, else `no:VIDEO_NO`; None for an item that has none of these.

    What cannot be read is known by its bytes: like a number, until a later answer lists something else.
    """
    if item.odd is not None:
        return odd_key(item.odd)
    if item.ref is not None:
        return item_key(item.ref)
    if item.source_url:
        return "url:" + hashlib.sha256(item.source_url.encode(errors="replace")).hexdigest()[:32]
    return f"no:{sanitise_key(item.video_no)}" if item.video_no else None


def record_poll(
    conn: Connection,
    import_id: str,
    listed: Sequence[ItemSeen],
    *,
    post_micros: int | None = None,
    now: datetime | None = None,
) -> PollResult:
    """Write one answered poll down: items, pending posts and their `enrich` work, sums and clocks, in one go.

    The answer may be partial, repeated or older than the last one: an item is known by its post, wherever it has
    one, and by its video number only until its URL comes. Numbers may change from answer to answer: so items without
    a URL are those of the latest answer that listed anything, and what an earlier one listed so is forgotten, with
    its failure. `post_micros` is the price of an imported post, by which the import's cost is brought up to date.
    """
    at = leases.clock(conn, now)
    locked = read(conn, imports.c.import_id == import_id, lock=True)
    if not locked or locked[0].state not in RECORDING:
        row = get(conn, import_id)
        return PollResult(row, [], 0, row.seen - row.new - row.known, recorded=False)
    listed, withheld = _without_erased(conn, listed)
    close_unreadable(conn, import_id, at)
    known = {row.item_key: row for row in conn.execute(_known, {"of_import": import_id})}
    by_key = _merge(listed, {row.video_no: key for key, row in known.items() if row.video_no is not None})
    fresh = {key: item for key, item in by_key.items() if key not in known}
    without_url, with_url = _by_number(by_key), len(fresh) - len(_by_number(fresh))
    # Under changing numbers nothing is new but that there are more of them.
    new_items = with_url + max(0, len(without_url) - len(_by_number(known)))
    new_keys = _new_keys(conn, fresh, locked[0], now=at)
    if locked[0].kind == "urls":
        new_keys |= _given_anew(conn, fresh, run_id=locked[0].run_id)
    # A URL came for items that were listed by number only: their rows give way to the posts'.
    by_number = {
        f"no:{sanitise_key(item.video_no)}": key for key, item in by_key.items() if item.source_url and item.video_no
    }
    resolved = sorted(by_number.keys() & known.keys())
    first_seen = {by_number[key]: known[key].first_seen_at for key in resolved}
    forgotten = sorted(_by_number(known) - without_url) if by_key or withheld else []
    for part in chunks(forgotten):
        conn.execute(delete(items).where(items.c.import_id == import_id, items.c.item_key.in_(part)))
    # The others have no failure before the import's end.
    over = forgotten if locked[0].finished_at is not None else [key for key in forgotten if key.startswith(ODD)]
    failures.resolve(conn, [f"{import_id}/{key}" for key in over], at, stages=("identify",))
    odd = {key: item.odd for key, item in fresh.items() if item.odd is not None}
    give_up_odd(conn, import_id, odd, run_id=locked[0].run_id, now=at)
    rows = [
        {
            "import_id": import_id,
            "item_key": key,
            "video_no": _fitted(item.video_no),
            "source_url": _fitted(item.source_url),
            "item_status": _fitted(item.item_status),
            "platform": None if item.ref is None else item.ref.platform,
            "post_id": None if item.ref is None else item.ref.post_id,
            "was_new": key in new_keys,
            "first_seen_at": first_seen.get(key, at),
            "last_seen_at": at,
        }
        for key, item in sorted(by_key.items())
    ]
    write_rows(conn, _upsert, rows)
    withheld = max(withheld, locked[0].withheld)
    row = _bring_up_to_date(conn, locked[0], withheld, progress=new_items > 0, post_micros=post_micros, now=at)
    found = [
        FoundPost(item.ref, item.source_url, collection=row.collection)
        for item in fresh.values()
        if item.ref is not None
    ]
    return PollResult(row, found, new_items, row.seen - row.new - row.known)


def _without_erased(conn: Connection, listed: Sequence[ItemSeen]) -> tuple[Sequence[ItemSeen], int]:
    """The items without posts that were erased on request, and how many posts those are."""
    out = erased_names.posts_among(conn, [item.ref for item in listed if item.ref is not None])
    if not out:
        return listed, 0
    return [item for item in listed if item.ref is None or item.ref.key not in out], len(out)


_known = select(items.c.item_key, items.c.video_no, items.c.first_seen_at).where(
    items.c.import_id == bindparam("of_import")
)


def _by_number(keys: Iterable[str]) -> set[str]:
    """Those of the keys that are video numbers, of items without a URL."""
    return {key for key in keys if key.startswith("no:")}


def _fitted(text: str | None) -> str | None:
    return None if text is None else sanitise_text(text)


def _merge(listed: Sequence[ItemSeen], by_number: dict[str, str]) -> dict[str, ItemSeen]:
    """The items by their keys, each once; one without a URL is known by its number, if that has a key already."""
    by_key: dict[str, ItemSeen] = {}
    numbers = dict(by_number)
    for item in listed:
        if item.source_url and (key := key_of(item)) is not None:
            by_key[key] = item
            if item.video_no:
                numbers[sanitise_text(item.video_no)] = key
    for item in listed:
        if not item.source_url and (key := key_of(item)) is not None:
            by_key.setdefault(numbers.get(sanitise_text(item.video_no or ""), key), item)
    return by_key


def _new_keys(conn: Connection, fresh: dict[str, ItemSeen], row: Import, *, now: datetime) -> set[str]:
    """Make pending posts and work of what is listed for the first time; the keys of what nobody knew before."""
    posts = [(item.ref, item.source_url) for item in fresh.values() if item.ref is not None]
    new = set(ensure_posts(conn, posts, now, row.run_id))
    refs = [ref for ref, _ in posts]
    enqueue(conn, refs, "enrich", asked_by=row.asked_by, now=now)
    runs.ask_for_listed(conn, refs, row.asked_by)
    foreign = sorted(key for key in fresh if key.startswith("url:"))
    for part in chunks(foreign):
        # Posts of platforms that nobody knows: new if no other import listed them.
        query = select(items.c.item_key).where(items.c.platform.is_(None), items.c.item_key.in_(part))
        new |= set(part) - set(conn.execute(query).scalars())
    return new


def _given_anew(conn: Connection, fresh: dict[str, ItemSeen], *, run_id: str) -> set[str]:
    """Keys of posts that nobody knew before the run that has them imported: it wrote them down itself, by URL."""
    began = select(_runs.c.started_at).where(_runs.c.run_id == run_id).scalar_subquery()
    found: set[str] = set()
    for part in chunks([item.ref for item in fresh.values() if item.ref is not None]):
        those = posts_among(_posts.c.platform, _posts.c.post_id, [ref.key for ref in part])
        query = select(_posts.c.platform, _posts.c.post_id).where(those, _posts.c.first_seen_at >= began)
        found |= {f"{platform}:{post_id}" for platform, post_id in conn.execute(query)}
    return found


_came = insert_into(items).excluded
_upsert = insert_into(items).on_conflict_do_update(
    index_elements=["import_id", "item_key"],
    set_={
        "video_no": func.coalesce(_came.video_no, items.c.video_no),
        "source_url": func.coalesce(items.c.source_url, _came.source_url),
        "item_status": func.coalesce(_came.item_status, items.c.item_status),
        "last_seen_at": _came.last_seen_at,
    },
)


def _bring_up_to_date(
    conn: Connection, row: Import, withheld: int, *, progress: bool, post_micros: int | None, now: datetime
) -> Import:
    """Sums are counted from the items, never added up, so that the same answer twice changes none."""
    sums = select(
        func.count(),
        func.count(case((items.c.was_new, 1))),
        func.count(case((and_(not_(items.c.was_new), items.c.source_url.is_not(None)), 1))),
    ).where(items.c.import_id == row.import_id)
    seen, new, known = conn.execute(sums).one()
    values: dict[str, Any] = {
        "seen": seen,
        "new": new,
        "known": known,
        "withheld": withheld,
        "polls": row.polls + 1,
        "last_polled_at": now,
        "quiet_polls": 0 if progress else row.quiet_polls + 1,
    }
    if post_micros is not None:
        values["cost_micros"] = (seen + withheld) * post_micros
    if progress:
        values["last_new_at"] = now
    if seen > 0:
        values["first_item_at"] = row.first_item_at or now
        if row.state in ("submitted", "empty"):
            values["state"] = "collecting"
        if row.state == "empty":
            values["next_look_at"] = now
    moved = move(conn, row.import_id, **values)
    assert moved is not None, "the row is locked"
    return moved


UNNAMED = {True: "ItemWithoutUrl", False: "NotAPostUrl"}
"""Error classes of listed items that name no post: without a URL, or with one of something else."""

SAID_FAILED = "the service called back that it failed"


def end_import(
    conn: Connection,
    import_id: str,
    *,
    state: Literal["complete", "empty"],
    post_micros: int,
    run_id: str,
    now: datetime,
    note: str | None = None,
) -> Import | None:
    """Finish an import; the row as it is then, None if it is finished already, or its items speak against `state`.

    What it cost is settled at `post_micros` (millionths of a US dollar) for each listed item, by whichever run ends
    it. A gap to the import before it is noted. Items that name no post become open failures of the stage `identify`:
    kept and counted, never dropped; one that has a URL by now is closed. `note` goes into the ledger.
    """
    ended_at = get(conn, import_id).finished_at
    row = finish_import(conn, import_id, state=state, note=note)
    if row is None:
        return None
    seen = row.seen + row.withheld
    if seen or row.next_look_at is None:
        # An empty import goes on holding its money up to its last look: its posts may still come, and be billed.
        amount = {"spent_micros": seen * post_micros, "posts": seen}
        money.settle_import(conn, import_id, **amount, now=now, ended_at=ended_at)
    _account_for_nameless(conn, import_id, run_id=run_id, now=now)
    gaps.note_gaps(conn, import_id, now)
    return row


def record_late_look(
    conn: Connection, import_id: str, listed: Sequence[ItemSeen], *, post_micros: int, run_id: str, now: datetime
) -> PollResult:
    """Write one more answered poll of a finished import down, which stays finished.

    Posts that it did not list before, or listed without a URL, are in the result; failures of items that have a URL
    now are closed. More listed items cost more; an item of which only more is known costs nothing.
    """
    result = record_poll(conn, import_id, listed, post_micros=post_micros)
    if result.recorded:
        seen = result.row.seen + result.row.withheld
        amount = {"spent_micros": seen * post_micros, "posts": seen}
        money.settle_import(conn, import_id, **amount, now=now, ended_at=result.row.finished_at)
        _account_for_nameless(conn, import_id, run_id=run_id, now=now)
        gaps.note_gaps(conn, import_id, now)
    return result


def _account_for_nameless(conn: Connection, import_id: str, *, run_id: str, now: datetime) -> None:
    """Open failures for the items that name no post, but for those that somebody closed; close those that do now."""
    nameless = {f"{import_id}/{item_key}": url for _, item_key, url, _ in without_post(conn, [import_id])}
    before = failures.of_import(conn, import_id)
    now_named = [row.item_key for row in before if row.item_key not in nameless]
    failures.resolve(conn, now_named, now, stages=["identify"])
    closed = {row.item_key for row in before if row.resolved_at is not None}
    given_up = [
        GivenUp(
            item_key=item_key,
            stage="identify",
            error_class=UNNAMED[url is None],
            message=_why(import_id, item_key, url),
            attempts=0,
            url=url,
            import_id=import_id,
            run_id=run_id,
        )
        for item_key, url in nameless.items()
        if item_key not in closed and not item_key.startswith(f"{import_id}/{ODD}")  # Those have one already.
    ]
    failures.give_up(conn, given_up, now)


def _why(import_id: str, item_key: str, url: str | None) -> str:
    if url is not None:
        return f"the import listed a URL that names no post of {labels()}"
    number = item_key.removeprefix(f"{import_id}/no:")
    return f"import {import_id} listed item {number} without a URL, so that there is no post to enrich"
