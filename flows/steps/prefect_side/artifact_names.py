"""Names of files and artifacts made from what a user typed."""

from __future__ import annotations

import hashlib


def distinct(made: str, typed: str) -> str:
    """The name made from what was typed, with six digits of its hash where it says less: no two ever share a name."""
    return made if made == typed else f"{made}-{hashlib.sha256(typed.encode()).hexdigest()[:6]}"
