"""The catalog: which collections, hashtags, services and accounts a database knows."""

from __future__ import annotations

from sqlalchemy import Connection, exists, select, union

from blocks.database.store.statements import table_of
from blocks.database.tables import Import, Run, Spend

_imports = table_of(Import)
_runs = table_of(Run)
_spend = table_of(Spend)

SERVICE = "service"
"""Under this name a run's parameters hold the hosts that it asked, such as `127.0.0.1:8787`."""


def collections(conn: Connection) -> list[str]:
    """All collections that an import or a run ever had, in alphabetical order."""
    names = union(select(_imports.c.collection), select(_runs.c.collection).where(_runs.c.collection.is_not(None)))
    return sorted(conn.execute(names).scalars())


def hashtags(conn: Connection) -> list[str]:
    """The keys of all hashtags that an import was ever made of, in alphabetical order."""
    query = select(_imports.c.hashtag).where(_imports.c.hashtag.is_not(None)).distinct()
    return sorted(conn.execute(query).scalars())


def services(conn: Connection) -> set[str]:
    """The hosts that runs asked which spent, or reserved, something; runs of older versions did not note them."""
    hosts = _runs.c.parameters[SERVICE].as_string()
    bought = exists().where(_spend.c.run_id == _runs.c.run_id)
    return {str(found) for found in conn.execute(select(hosts).where(hosts.is_not(None), bought).distinct()).scalars()}


def accounts_without_service(conn: Connection) -> set[str]:
    """The names of accounts of runs that did not note which hosts they asked."""
    unknown = _runs.c.parameters[SERVICE].as_string().is_(None)
    query = select(_runs.c.account).where(_runs.c.account.is_not(None), unknown).distinct()
    return {str(name) for name in conn.execute(query).scalars()}
