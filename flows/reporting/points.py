"""What the numbers of a report lean on and nobody has confirmed yet, unless `doctor --live` has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_POINTS: Final = {
    "hashtag_tiktok_only": "A hashtag import finds TikTok posts only today (the vendor: others coming soon).",
    "count_per_hashtag": "The number that an import asks for is posts per hashtag.",
    "item_url": "Every listed item carries the post's own URL.",
    "url_before_ready": "Posts are listed before the vendor has indexed them.",
    "gone": "A private or removed post is answered as null in a success, not as an error.",
}
"""Points of the API's contract by the names under which `doctor --live` keeps what it found."""


@dataclass(frozen=True, slots=True)
class OpenPoint:
    """One point: what was assumed, and `unconfirmed`, or what was found and when."""

    assumed: str
    verdict: str


def open_points(findings: Mapping[str, Mapping[str, Any]], channels: Iterable[tuple[str, str]]) -> list[OpenPoint]:
    """The points that bear on data, and those of each (platform, channel) that was measured through."""
    points = _POINTS | {
        f"metadata_{platform}_{channel}": f"Metadata of {platform} through {channel} has the form that was read."
        for platform, channel in sorted(channels)
    }
    return [OpenPoint(assumed, _verdict(findings.get(name))) for name, assumed in points.items()]


def _verdict(finding: Mapping[str, Any] | None) -> str:
    if finding is None:
        return "unconfirmed"
    said = f": {finding['said']}" if finding.get("said") else ""
    return f"{finding['verdict']} on {str(finding['at'])[:10]}{said}"
