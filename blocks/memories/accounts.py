"""What an account of the service is called in the database: caps, limits and imports are kept by this name."""

from __future__ import annotations

import hashlib
import re

from blocks.errors import UsageError


def account_name(key: str, named: str = "") -> str:
    """The name that was given (TAGTRAIL_ACCOUNT, or the block's field), else one made of the key.

    The latter is the first 16 hex digits of the key's SHA-256: it tells accounts apart and not the key.

    Raises:
        UsageError: what was given is no name of 1 to 32 letters, digits, `.`, `_` or `-`.
    """
    if named := named.strip():
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", named):
            raise UsageError(
                f"an account's name (TAGTRAIL_ACCOUNT) has 1 to 32 letters, digits, '.', '_' or '-', not {named!r}"
            )
        return named
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
