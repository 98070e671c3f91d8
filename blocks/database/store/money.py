"""Money: reserved in the database before a call, settled after it, and never beyond a cap; and who pays.

A reservation is one row of `spend` plus the running totals of its run, UTC day and collection in `budgets`. What a run
buys for another one's request counts under both runs. All amounts are whole millionths of a US dollar. What was
reserved and never settled, because the run was killed, counts as spent: the calls may have been made.

A post that no run of a collection asked for is paid by the collection that found it first.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    update,
)

from blocks.database.store.statements import Key, chunks, insert_into, posts_among, table_of
from blocks.database.tables import Budget, Import, ImportItem, Run, RunPost, Spend
from blocks.errors import Held, SpendCapReached

_runs = table_of(Run)
_imports = table_of(Import)
_items = table_of(ImportItem)
_run_posts = table_of(RunPost)
_spend = table_of(Spend)
_budgets = table_of(Budget)

MICROS_PER_USD = 1_000_000

Kind = Literal["import", "metadata"]


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that may be spent, in millionths of a US dollar; None is no cap.

    `collection_micros` bounds all that a collection ever spends, over all its runs.
    """

    run_micros: int | None = None
    day_micros: int | None = None
    collection_micros: int | None = None


@dataclass(frozen=True, slots=True)
class Purpose:
    """What money is spent on, and by whom; `asked_by` is the run whose request it is, None: the buyer's own."""

    account: str
    run_id: str
    collection: str | None
    kind: Kind
    platform: str | None = None
    channel: str | None = None
    import_id: str | None = None
    asked_by: str | None = None


@dataclass(frozen=True, slots=True)
class SpendLine:
    """What one kind of call cost: `calls` made (metadata) or posts listed (import), and millionths of a dollar.

    `open_micros` are reserved and not settled: under way, or left behind by a run that was killed.
    """

    kind: str
    platform: str | None
    channel: str | None
    calls: int
    spent_micros: int
    open_micros: int


@dataclass(frozen=True, slots=True)
class RunSpend:
    """What a run spent; amounts in millionths of a US dollar."""

    lines: tuple[SpendLine, ...] = ()

    def calls(self, kind: Kind) -> int:
        return sum(line.calls for line in self.lines if line.kind == kind)

    @property
    def named_calls(self) -> dict[str, int]:
        """Billed (or possibly billed) calls by platform and channel; of imports, the posts that they listed."""
        names = (
            (line, "imported posts" if line.kind == "import" else f"{line.platform}/{line.channel}")
            for line in self.lines
        )
        return {name: line.calls for line, name in names if line.calls}

    def spent_micros(self, kind: Kind | None = None) -> int:
        """Settled spending, of one kind or of all."""
        return sum(line.spent_micros for line in self.lines if kind in (None, line.kind))

    @property
    def open_micros(self) -> int:
        """Reserved and not settled."""
        return sum(line.open_micros for line in self.lines)

    @property
    def counted_micros(self) -> int:
        """What counts against the caps: settled and open together."""
        return self.spent_micros() + self.open_micros


def day_of(now: datetime) -> str:
    """The UTC day under which a reservation made at `now` counts, as YYYY-MM-DD."""
    return now.astimezone(UTC).date().isoformat()


def _scopes(
    account: str, day: str, run_id: str, collection: str | None, asked_by: str | None = None
) -> list[tuple[str, str]]:
    # Always in this order, so that two transactions cannot wait for each other; what most share is locked last.
    scopes = [("run", f"run:{run_id}")]
    if asked_by not in (None, run_id):
        scopes = sorted([*scopes, ("request", f"run:{asked_by}")], key=lambda each: each[1])
    if collection is not None:
        scopes.append(("collection", f"collection:{collection}"))
    return [*scopes, ("day", f"day:{account}:{day}")]


_cap, _more = bindparam("cap", type_=BigInteger), bindparam("more", type_=BigInteger)
_take = (
    insert_into(_budgets)
    .values(scope=bindparam("which"), used_micros=_more)
    .on_conflict_do_update(
        index_elements=["scope"],
        set_={"used_micros": _budgets.c.used_micros + _more},
        where=or_(_cap.is_(None), _budgets.c.used_micros + _more <= _cap),
    )
    .returning(_budgets.c.used_micros)
)
_add = update(_budgets).where(_budgets.c.scope == bindparam("which")).values(used_micros=_budgets.c.used_micros + _more)
_used = select(_budgets.c.used_micros).where(_budgets.c.scope == bindparam("which"))


def used_micros(conn: Connection, scope: str) -> int:
    """What counts against a scope: `run:ID`, `day:ACCOUNT:YYYY-MM-DD` or `collection:NAME`."""
    return conn.execute(_used, {"which": scope}).scalar_one_or_none() or 0


def day_total(conn: Connection, account: str, day: str) -> int:
    """What an account has spent or reserved on a UTC day (YYYY-MM-DD), in millionths of a US dollar."""
    return used_micros(conn, f"day:{account}:{day}")


def left_micros(
    conn: Connection, caps: Caps, *, account: str, day: str, run_id: str, collection: str | None
) -> int | None:
    """The most that a run may still spend under all its caps; None where there is no cap."""
    of_scope = {"run": caps.run_micros, "day": caps.day_micros, "collection": caps.collection_micros}
    left = [
        cap - used_micros(conn, scope)
        for kind, scope in _scopes(account, day, run_id, collection)
        if (cap := of_scope[kind]) is not None
    ]
    return max(0, min(left)) if left else None


def _used_by_request() -> Any:
    """What counts under the cap of a row of `runs`, in millionths of a US dollar."""
    used = select(_budgets.c.used_micros).where(_budgets.c.scope == "run:" + _runs.c.run_id).correlate(_runs)
    return func.coalesce(used.scalar_subquery(), 0)


def has_room(platform: Any, cheapest_micros: Mapping[str, int]) -> ColumnElement[bool]:
    """The condition that the cap of a row of `runs` pays the cheapest call for a post of this platform."""
    price = case(dict(cheapest_micros), value=platform, else_=0) if cheapest_micros else 0
    return or_(_runs.c.cap_micros.is_(None), _runs.c.cap_micros - _used_by_request() >= price)


def reserve(
    conn: Connection,
    purpose: Purpose,
    *,
    micros: int,
    caps: Caps,
    now: datetime,
    spend_id: str | None = None,
) -> str:
    """Reserve money for calls that are about to be made; the reservation's id.

    `caps` are the buyer's; for another run's request that run's own cap holds besides.

    Raises:
        Held: what it is bought for was stopped, or nobody asks for it.
        SpendCapReached: it does not fit under a cap; nothing is changed, also for a caller who goes on with the
            same transaction.
    """
    day = day_of(now)
    most = {"run": caps.run_micros, "day": caps.day_micros, "collection": caps.collection_micros}
    if purpose.asked_by not in (None, purpose.run_id):
        most["request"] = _cap_of_request(conn, str(purpose.asked_by))
    taken: list[str] = []
    for kind, scope in _scopes(purpose.account, day, purpose.run_id, purpose.collection, purpose.asked_by):
        cap = most[kind]
        # The first reservation of a scope has no row whose total the statement could compare.
        fits = cap is None or micros <= cap
        values = {"which": scope, "more": micros, "cap": cap}
        if not fits or conn.execute(_take, values).one_or_none() is None:
            for done in taken:
                conn.execute(_add, {"which": done, "more": -micros})
            used = used_micros(conn, scope)
            raise SpendCapReached(kind, *(amount / MICROS_PER_USD for amount in (cap or 0, used, micros)))
        taken.append(scope)
    spend_id = spend_id or str(uuid.uuid4())
    row = {"spend_id": spend_id, "day": day, "calls": 0, "reserved_micros": micros, "reserved_at": now}
    who = {name: getattr(purpose, name) for name in Purpose.__slots__}
    conn.execute(insert(_spend), {**who, **row})
    return spend_id


def _cap_of_request(conn: Connection, run_id: str) -> int | None:
    """What may be spent on a run's request; the run cannot be stopped before this transaction has ended."""
    query = select(_runs.c.cap_micros, _runs.c.stopped_at).where(_runs.c.run_id == run_id)
    row = conn.execute(query.with_for_update(read=True)).one_or_none()
    if row is None or row.stopped_at is not None:
        raise Held("the run that asked for it was stopped; nothing was bought")
    cap: int | None = row.cap_micros
    return cap


def reserve_calls(
    conn: Connection,
    purpose: Purpose,
    *,
    price_micros: int,
    calls: int,
    at_least: int,
    caps: Caps,
    now: datetime,
    spend_id: str | None = None,
) -> tuple[str, int]:
    """Reserve money for up to `calls` calls, fewer where a cap leaves room for fewer, but for `at_least` so many.

    Returns the reservation's id and how many calls it is for.

    Raises:
        SpendCapReached: not even `at_least` calls fit; nothing is changed.
        Held: as `reserve`.
    """
    wanted = calls
    while True:
        try:
            taken = reserve(conn, purpose, micros=price_micros * wanted, caps=caps, now=now, spend_id=spend_id)
        except SpendCapReached as reached:
            room = round((reached.cap_usd - reached.reserved_usd) * MICROS_PER_USD) // max(price_micros, 1)
            if wanted <= at_least:
                raise
            # At most one less than refused: another worker may have given back between the two looks.
            wanted = max(at_least, min(room, wanted - 1))
        else:
            return taken, wanted


def settle(conn: Connection, spend_id: str, *, spent_micros: int, calls: int, now: datetime) -> bool:
    """Write down what was really spent on a reservation, and give back the rest; False if that was done before.

    More than was reserved is written down as it is, and counts: it has been spent.
    """
    done = conn.execute(
        update(_spend)
        .where(_spend.c.spend_id == spend_id, _spend.c.settled_at.is_(None))
        .values(spent_micros=spent_micros, calls=calls, settled_at=now)
        .returning(*_counted_under, _spend.c.reserved_micros)
    ).one_or_none()
    if done is None:
        return False
    _count(conn, done, spent_micros - done.reserved_micros)
    return True


def mark_sent(conn: Connection, spend_id: str, *, now: datetime) -> None:
    """Note that the import is sent with this money: from now on it may be billed, until somebody knows better."""
    conn.execute(update(_spend).where(_spend.c.spend_id == spend_id).values(sent_at=now))


def settle_import(
    conn: Connection, import_id: str, *, spent_micros: int, posts: int, now: datetime, ended_at: datetime | None = None
) -> bool:
    """`settle` for an import, by whichever run finishes it; False if nothing is left to be written down.

    Taken is its newest open reservation that it was sent with: an older one is of a submission whose outcome is
    unknown, and goes on counting as spent. So it does where an import is finished again (`ended_at` is when it was the
    first time): what it has listed since raises the amount that it was settled with.
    """
    newest_first = (_spend.c.reserved_at.desc(), _spend.c.spend_id)
    of_import = (
        select(_spend.c.spend_id, _spend.c.spent_micros, *_counted_under)
        .where(_spend.c.import_id == import_id)
        .order_by(*newest_first)
        .limit(1)
    )
    # What was given back for a submission that was refused is settled as well: with nothing, and before any end.
    ended = or_(_spend.c.calls > 0, _spend.c.spent_micros > 0)
    if ended_at is not None:
        ended = or_(ended, _spend.c.settled_at >= ended_at)
    before = conn.execute(of_import.where(_spend.c.settled_at.is_not(None), ended)).one_or_none()
    if before is None:
        sent_first = of_import.order_by(None).order_by(_spend.c.sent_at.is_(None), *newest_first)
        newest = conn.execute(sent_first.where(_spend.c.settled_at.is_(None))).one_or_none()
        return newest is not None and settle(conn, newest.spend_id, spent_micros=spent_micros, calls=posts, now=now)
    if before.spent_micros >= spent_micros:
        return False
    more = {"spent_micros": spent_micros, "calls": posts}
    conn.execute(update(_spend).where(_spend.c.spend_id == before.spend_id).values(**more))
    _count(conn, before, spent_micros - before.spent_micros)
    return True


def release(conn: Connection, spend_id: str, *, now: datetime) -> bool:
    """Give a whole reservation back, for nothing was called; False if it was settled before."""
    return settle(conn, spend_id, spent_micros=0, calls=0, now=now)


def release_import(conn: Connection, import_id: str, *, now: datetime) -> None:
    """Give back all that is reserved for an import and not settled: somebody knows that it never arrived."""
    open_ = select(_spend.c.spend_id).where(_spend.c.import_id == import_id, _spend.c.settled_at.is_(None))
    for spend_id in conn.execute(open_).scalars().all():
        release(conn, spend_id, now=now)


def counted_for_import(conn: Connection, import_id: str) -> int:
    """What counts as spent for an import, reserved or billed, in millionths of a US dollar."""
    counted = func.sum(func.coalesce(_spend.c.spent_micros, _spend.c.reserved_micros))
    return int(conn.execute(select(counted).where(_spend.c.import_id == import_id)).scalar() or 0)


def shrink(conn: Connection, spend_id: str, *, micros: int) -> bool:
    """Give back `micros` of an open reservation; False if it is settled, or smaller than that."""
    left = _spend.c.reserved_micros - micros
    done = conn.execute(
        update(_spend)
        .where(_spend.c.spend_id == spend_id, _spend.c.settled_at.is_(None), left >= 0)
        .values(reserved_micros=left)
        .returning(*_counted_under)
    ).one_or_none()
    if done is None:
        return False
    _count(conn, done, -micros)
    return True


_counted_under = (_spend.c.account, _spend.c.day, _spend.c.run_id, _spend.c.collection, _spend.c.asked_by)


def _count(conn: Connection, row: Any, more: int) -> None:
    for _, scope in _scopes(row.account, row.day, row.run_id, row.collection, row.asked_by) if more else ():
        conn.execute(_add, {"which": scope, "more": more})


def totals(conn: Connection, run_id: str) -> RunSpend:
    """What a run has spent so far, one line for each kind, platform and channel."""
    return RunSpend(spend_lines(conn, _spend.c.run_id == run_id))


def totals_of_day(conn: Connection, day: str, collection: str | None = None) -> RunSpend:
    """The same of a UTC day (YYYY-MM-DD), over all runs, and over all collections or one."""
    of_collection = [] if collection is None else [_spend.c.collection == collection]
    return RunSpend(spend_lines(conn, _spend.c.day == day, *of_collection))


def spend_lines(conn: Connection, *which: ColumnElement[bool], as_of: datetime | None = None) -> tuple[SpendLine, ...]:
    """Rows of `spend` by kind, platform and channel; what was settled after `as_of` was reserved then."""
    by = (_spend.c.kind, _spend.c.platform, _spend.c.channel)
    settled = _spend.c.settled_at.is_not(None) if as_of is None else _spend.c.settled_at <= as_of
    calls, spent = (func.sum(case((settled, amount), else_=0)) for amount in (_spend.c.calls, _spend.c.spent_micros))
    reserved = func.sum(case((settled, 0), else_=_spend.c.reserved_micros))
    query = select(*by, calls, spent, reserved).where(*which).group_by(*by).order_by(*by)
    return tuple(SpendLine(*row[:3], *(int(amount) for amount in row[3:])) for row in conn.execute(query))


def cost_per_1000_new(counted_micros: int, new_enriched: int) -> float | None:
    """US dollars per 1,000 new enriched posts; None where there was no new one."""
    return counted_micros / MICROS_PER_USD / new_enriched * 1000 if new_enriched else None


_listings: Select[Any] = select(
    _items.c.platform, _items.c.post_id, _imports.c.collection, _items.c.first_seen_at.label("found_at")
).join(_imports, _imports.c.import_id == _items.c.import_id)
"""Each post of each import: its key, the import's collection, and when it was listed."""

_givings: Select[Any] = select(
    _run_posts.c.platform, _run_posts.c.post_id, _runs.c.collection, _runs.c.started_at.label("found_at")
).join(_runs, _runs.c.run_id == _run_posts.c.run_id)
"""Each post of each run that was given it: its key, the run's collection (of a run over all: null), and its start."""


def paying_collections(conn: Connection, keys: Sequence[Key]) -> dict[Key, str]:
    """The collection that found each post first; a post that none found is not among them."""
    found: dict[Key, tuple[datetime, str]] = {}
    for part in chunks(keys):
        among = posts_among(_items.c.platform, _items.c.post_id, part)
        _keep_first(found, conn.execute(_first_by_collection(_listings.where(among))))
        among = posts_among(_run_posts.c.platform, _run_posts.c.post_id, part)
        by_url = _givings.where(among, _runs.c.collection.is_not(None), _run_posts.c.purpose == "enrich")
        _keep_first(found, conn.execute(_first_by_collection(by_url)))
    return {key: collection for key, (_, collection) in found.items()}


def _first_by_collection(which: Select[Any]) -> Select[Any]:
    of = which.subquery().c
    by = (of.platform, of.post_id, of.collection)
    return select(*by, func.min(of.found_at).label("found_at")).group_by(*by)


def _keep_first(found: dict[Key, tuple[datetime, str]], rows: Iterable[Any]) -> None:
    for row in rows:
        one, key = (row.found_at, row.collection), (row.platform, row.post_id)
        found[key] = min(found.get(key, one), one)


def left_by_collection(conn: Connection, names: Iterable[str], cap_micros: int | None) -> dict[str, int]:
    """What each of these collections may still spend, in millionths of a US dollar; empty without a cap."""
    if cap_micros is None:
        return {}
    return {name: max(0, cap_micros - used_micros(conn, f"collection:{name}")) for name in sorted(set(names))}
