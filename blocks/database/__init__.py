"""The database: its tables and their migrations, connections and transactions, and the store that holds all SQL."""

from __future__ import annotations

from typing import Literal

What = Literal["posts", "snapshots", "creators", "comments", "imports", "failures"]
"""What rows can be exported; named here, so that help and an empty home need not load the database."""
