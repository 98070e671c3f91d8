"""What rows can be exported; named without loading the database, so that help and an empty home are quick."""

from __future__ import annotations

from typing import Literal

What = Literal["posts", "snapshots", "creators", "comments", "imports", "failures"]
