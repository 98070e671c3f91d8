"""The key by which equal wishes for an import are known, to the flows that wish and to the ledger that keeps them."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson


def wish_key(kind: str, what: Any, namespace: str, library: str) -> str:
    """Hash (64 hex digits) of what is wished for; of post URLs it is the `item_key` of each, in their order."""
    return hashlib.sha256(orjson.dumps([kind, what, namespace, library])).hexdigest()
