"""A report from the store to its file: what the command and the flow have in common."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from blocks.database.engine import Store
from blocks.errors import unwritable
from blocks.outside_words import distinct_name
from blocks.posts.snapshot_plan import SnapshotPlan
from flows.reporting import checking
from flows.reporting.figures import Figures, gather
from flows.reporting.page import render, write
from flows.reporting.period import Period


def make(
    store: Store,
    target: Path,
    *,
    collection: str | None,
    hashtag: str | None,
    period: Period,
    plan: SnapshotPlan,
    check: int = 0,
) -> Figures:
    """Write a report to `target` and return what it shows; `hashtag` is a tag's key.

    `check`: so many random posts are listed in a file beside it, to be compared by hand with the platform. A list
    that lies there already is kept, and what was filled in is shown.

    Raises:
        UsageError: there is no such collection, or the file cannot be written.
        StoreError: the database cannot be read.
    """
    figures = gather(store, collection=collection, hashtag=hashtag, period=period, plan=plan)
    checks = checking.beside(target)
    if check:
        checking.write_list(checks, figures, check)
    write(render(figures, checking.agreement(checks)), target)
    return figures


def default_target(home: Path, *, collection: str | None, hashtag: str | None, now: datetime) -> Path:
    """Where a report goes by itself: `reports/report-COLLECTION-DATE.html` in the home; its folder is made.

    Raises:
        UsageError: the folder cannot be made.
    """
    folder = home / "reports"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise unwritable(folder, error) from None
    parts = ["report", "all" if collection is None else collection, *([hashtag] if hashtag else [])]
    return folder / f"{'-'.join(_in_a_name(part) for part in parts)}-{now:%Y-%m-%d}.html"


def address(reports_url: str, target: Path) -> str | None:
    """Where a report can be opened from, if TAGTRAIL_REPORTS_URL says where the folder is served."""
    return f"{reports_url.rstrip('/')}/{quote(target.name)}" if reports_url else None


def _in_a_name(text: str) -> str:
    """A text as part of a file's name: letters and digits of any script stay, all else is a dash."""
    text = unicodedata.normalize("NFC", text)
    return distinct_name(re.sub(r"[^\w]+", "-", text).strip("-_")[:60] or "unnamed", text)
