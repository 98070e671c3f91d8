"""What a report asks beyond the exported rows: what each collection spent, what was confirmed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, case, func, select

from blocks.database.store import contract
from blocks.database.store.statements import table_of
from blocks.database.tables import Run, Spend

_runs, _spend = table_of(Run), table_of(Spend)


@dataclass(frozen=True, slots=True)
class SpendTotal:
    """What one kind of call cost; `calls` made (metadata) or posts listed (import), amounts in millionths of a USD.

    `reserved_micros` are reserved and not settled: under way, or left behind by a run that was killed.
    """

    kind: str
    platform: str | None
    channel: str | None
    calls: int
    spent_micros: int
    reserved_micros: int


def spending(conn: Connection, collection: str, since: datetime | None = None) -> list[SpendTotal]:
    """What a collection spent, on UTC days from that of `since` on."""
    by = (_spend.c.kind, _spend.c.platform, _spend.c.channel)
    spent = func.coalesce(func.sum(_spend.c.spent_micros), 0)
    reserved = func.coalesce(func.sum(case((_spend.c.spent_micros.is_(None), _spend.c.reserved_micros))), 0)
    query = (
        select(*by, func.sum(_spend.c.calls), spent, reserved)
        .where(_spend.c.collection == collection)
        .group_by(*by)
        .order_by(*by)
    )
    if since is not None:
        query = query.where(_spend.c.day >= since.astimezone(UTC).date().isoformat())
    return [SpendTotal(*line[:3], *(int(number) for number in line[3:])) for line in conn.execute(query)]


def findings(conn: Connection, collection: str) -> dict[str, dict[str, Any]]:
    """What `doctor --live` found on the accounts that a collection used: point → {verdict, said, at}.

    Where accounts differ, what contradicts comes first.
    """
    query = select(_runs.c.account).where(_runs.c.collection == collection, _runs.c.account.is_not(None)).distinct()
    found: dict[str, dict[str, Any]] = {}
    for account in sorted(conn.execute(query).scalars()):
        for point, finding in contract.findings(conn, account).items():
            if point not in found or finding["verdict"] == "contradicted":
                found[point] = finding
    return found
