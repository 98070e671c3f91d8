"""What a request for an import is known by: the key of equal requests, and what people read."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from blocks.errors import UsageError
from blocks.posts.identity import parse_creator_url


def dedup_key(kind: str, what: Any, namespace: str, library: str) -> str:
    """Hash (64 hex digits) of what is asked for; of post URLs it is the `item_key` of each, in their order."""
    return hashlib.sha256(orjson.dumps([kind, what, namespace, library])).hexdigest()


def import_shown(kind: str, hashtag: str | None, wanted: dict[str, Any] | None, import_id: str) -> str:
    """What an import is called on the user's own terminal: `#tag`, `creator @name`, `12 URLs (1f2e3d4c)`.

    A creator's name is for there only: what Prefect keeps is called as `flows.steps.run.summary.named` says.
    """
    if hashtag:
        return f"#{hashtag}"
    wanted = wanted or {}
    if isinstance(creator := wanted.get("creator"), str):
        try:
            return f"creator @{parse_creator_url(creator)[1].removeprefix('@')}"
        except UsageError:
            return f"creator {import_id[:8]}"
    if isinstance(urls := wanted.get("urls"), list):
        return urls_shown(len(urls), import_id)
    return f"{kind} {import_id[:8]}"


def urls_shown(count: int, import_id: str) -> str:
    """What an import of post URLs is called; two may be of as many."""
    return f"{count:,} URL{'' if count == 1 else 's'} ({import_id[:8]})"
