"""What a database holds already, in a line each: an import, a measured post. What a test does not name is as usual."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from blocks.database.store import import_planning, imports
from blocks.database.store.import_planning import Ticket
from blocks.database.store.posts import EnrichedPost
from blocks.posts.record import PostRecord, PostRef


def plan(
    conn: Connection, run_id: str, *, hashtag: str = "linen", collection: str = "c", now: datetime | None = None,
    **changes: Any,
) -> Ticket:  # fmt: skip
    """Plan the import of a hashtag for a run, whose name is its holder's too."""
    usual: dict[str, Any] = {
        "account": "acc", "kind": "hashtag", "hashtag": hashtag, "wanted": {"hashtag": hashtag}, "dedup_key": hashtag,
        "collection": collection, "namespace": collection, "library": "private", "requested": 9, "owner": run_id,
        "reuse_after": None, "fresh": False,
    }  # fmt: skip
    return import_planning.plan_import(conn, run_id=run_id, now=now, **usual | changes)


def submit(conn: Connection, run_id: str, *, now: datetime | None = None, **changes: Any) -> str:
    """Plan an import and have it accepted as a task of the service; its id."""
    import_id, owner = plan(conn, run_id, now=now, **changes).import_id, changes.get("owner", run_id)
    imports.mark_sending(conn, import_id, owner=owner, now=now)
    imports.mark_submitted(conn, import_id, f"task of {import_id}", owner=owner, now=now)
    return import_id


def measured(
    ref: PostRef, at: datetime, *, run_id: str | None = None, purpose: str = "enrich", **facts: Any
) -> EnrichedPost:
    """A post's numbers as they are saved; `facts` are columns of its record."""
    known: dict[str, Any] = {"shape": "invented", "shortcode": ref.shortcode, **facts}
    record = PostRecord(platform=ref.platform, post_id=ref.post_id, url=ref.url, **known)
    return EnrichedPost(
        record=record, channel="apify", observed_at=at, run_id=run_id, purpose=purpose, parser_version="1"
    )
