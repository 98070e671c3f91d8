"""Answers of polls: listed items become posts and work, each once, however often and in whatever order they come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, delete, func, not_, select, update

from blocks.database.store import erased_names, failures, leases, stops
from blocks.database.store.import_answers import ODD, close_unreadable, give_up_odd, odd_key
from blocks.database.store.import_rows import RUNNING, FoundPost, OpenImport, get, imports, items, read
from blocks.database.store.posts import ensure_posts
from blocks.database.store.sanitise import sanitise_key, sanitise_text
from blocks.database.store.statements import chunks, insert_into, posts_among, table_of, write_rows
from blocks.database.store.work import enqueue
from blocks.database.tables import Post, Run
from blocks.posts.identity import item_key
from blocks.posts.record import PostRef

_posts, _runs = table_of(Post), table_of(Run)

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

    row: OpenImport
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
    write_rows(conn, _upsert(conn.dialect.name), rows)
    withheld = max(withheld, locked[0].withheld)
    _bring_up_to_date(conn, locked[0], withheld, progress=new_items > 0, post_micros=post_micros, now=at)
    row = get(conn, import_id)
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
    return [item for item in listed if item.ref is None or (item.ref.platform, item.ref.post_id) not in out], len(out)


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


def _new_keys(conn: Connection, fresh: dict[str, ItemSeen], row: OpenImport, *, now: datetime) -> set[str]:
    """Make pending posts and work of what is listed for the first time; the keys of what nobody knew before."""
    posts = [(item.ref, item.source_url) for item in fresh.values() if item.ref is not None]
    new = set(ensure_posts(conn, posts, now, row.run_id))
    refs = [ref for ref, _ in posts]
    enqueue(conn, refs, "enrich", asked_by=row.asked_by, now=now)
    stops.ask_for_listed(conn, refs, row.asked_by)
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
        those = posts_among(_posts.c.platform, _posts.c.post_id, [(ref.platform, ref.post_id) for ref in part])
        query = select(_posts.c.platform, _posts.c.post_id).where(those, _posts.c.first_seen_at >= began)
        found |= {f"{platform}:{post_id}" for platform, post_id in conn.execute(query)}
    return found


@lru_cache(maxsize=2)
def _upsert(dialect: str) -> Any:
    insert = insert_into(dialect, items)
    came = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=["import_id", "item_key"],
        set_={
            "video_no": func.coalesce(came.video_no, items.c.video_no),
            "source_url": func.coalesce(items.c.source_url, came.source_url),
            "item_status": func.coalesce(came.item_status, items.c.item_status),
            "last_seen_at": came.last_seen_at,
        },
    )


def _bring_up_to_date(
    conn: Connection, row: OpenImport, withheld: int, *, progress: bool, post_micros: int | None, now: datetime
) -> None:
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
    conn.execute(update(imports).where(imports.c.import_id == row.import_id).values(**values))
