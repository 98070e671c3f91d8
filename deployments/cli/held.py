"""`tagtrail retry --held`: goes on with what a person's stop holds, or gives it up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from blocks.database.store import stale_work
from blocks.database.store.stale_work import Held
from blocks.settings import Settings
from deployments.cli import stores
from deployments.cli.options import Output
from deployments.cli.running import connect, finish, require_key, run_flow
from deployments.cli.terminal import counted, tell, write_json

FLOW: Final = "flows.collect_imports:collect_imports"


def go_on(collection: str | None, terms: dict[str, Any], settings: Settings, output: Output, *, dry_run: bool) -> int:
    """Have a run ask for what is held, under the terms of this command; nothing held is nothing to do."""
    found = _find(settings, collection)
    if dry_run or not (found.posts or found.imports):
        told = _named(found, collection)
        if output.json:
            write_json({"dry_run": dry_run, "posts": len(found.posts), "imports": len(found.imports)})
        else:
            tell(f"Held: {told}. Nothing was called." if found.posts or found.imports else "Nothing is held.")
        return 0
    require_key(settings)
    server, settings = connect(settings)
    tell(f"Held: {_named(found, collection)}; this run goes on with it, under its own cap.")
    asked = {**terms, "held": True, "collection": collection or ""}
    summary = run_flow(FLOW, asked, server=server, expected=len(found.posts), output=output)
    return finish(summary, server=server, settings=settings, output=output)


def close(collection: str | None, settings: Settings, output: Output, *, dry_run: bool) -> int:
    """Give up what is held; nothing is called."""
    found = _find(settings, collection)
    posts, unsent = len(found.posts), 0
    with stores.opened(settings, quiet=True) as store:
        if store is not None:
            if dry_run:
                with store.connect() as conn:
                    unsent = stale_work.count_unsent(conn, found)
            else:
                with store.begin(durable=True) as conn:
                    posts, unsent = stale_work.give_up_held(conn, collection=collection, now=datetime.now(UTC))
    if output.json:
        write_json({"dry_run": dry_run, "posts": posts, "imports": unsent})
    else:
        what = f"{counted(posts, 'held post')} and {counted(unsent, 'import')} that {'was' if unsent == 1 else 'were'}"
        print(f"{'Would be given up' if dry_run else 'Given up'}: {what} not sent.")  # noqa: T201
    return 0


def _find(settings: Settings, collection: str | None) -> Held:
    with stores.opened(settings, quiet=True) as store:
        if store is None:
            return Held([], [])
        with store.connect() as conn:
            return stale_work.find_held(conn, collection=collection)


def _named(found: Held, collection: str | None) -> str:
    of = f" of collection {collection}" if collection is not None else ""
    return f"{counted(len(found.posts), 'post')} and {counted(len(found.imports), 'import')}{of}"
