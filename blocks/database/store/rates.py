"""Engagement rates, computed from one row's numbers, which all came from the same payload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blocks.posts.platforms.registry import PLATFORMS


def engagement_rates(post: Mapping[str, Any]) -> tuple[dict[str, float | None], dict[str, str]]:
    """`engagement_rate_by_followers` and `engagement_rate_by_plays` of a post, and the reasons of those that are None.

    By followers: (likes + comments) / author_followers. By plays: (likes + comments + shares + saves, those that
    the platform has) / plays. None if any part is, for the reason of the first such part; None with the reason
    `not_in_payload` if the divisor is 0, for then there is nothing to divide by. A post whose nulls have no
    reasons yet (pending) has none here either.
    """
    known = post["null_reasons"] or {}
    rates: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name, parts, divisor in (
        ("engagement_rate_by_followers", ("likes", "comments"), "author_followers"),
        ("engagement_rate_by_plays", PLATFORMS[post["platform"]].engagement, "plays"),
    ):
        missing = [part for part in (*parts, divisor) if post[part] is None]
        if missing or post[divisor] == 0:
            rates[name] = None
            reason = next((known[part] for part in missing if part in known), None if missing else "not_in_payload")
            if reason is not None:
                reasons[name] = reason
        else:
            rates[name] = sum(post[part] for part in parts) / post[divisor]
    return rates, reasons
