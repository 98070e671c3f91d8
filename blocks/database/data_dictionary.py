"""The data dictionary: what each public column holds, and, counted while rows go by, how far it is filled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from blocks.database import What
from blocks.database.store.export import COLUMNS
from blocks.posts.platforms.registry import PLATFORMS

Kind = Literal["text", "count", "number", "flag", "time", "texts", "mapping", "json"]
"""text · count: a whole number · number: with a fraction · flag: true or false · time: a moment in UTC · texts: a list
of text · mapping: text to text · json: an object of any form."""

IDS: Final = frozenset({
    "post_id", "shortcode", "author_id", "audio_id", "comment_id", "import_id", "task_id", "run_id"
})  # fmt: skip
"""Columns that rows are joined by; an id of YouTube's may begin with a hyphen."""


@dataclass(frozen=True, slots=True)
class ColumnFact:
    """One public column; `unit` is empty where there is none."""

    name: str
    kind: Kind
    unit: str
    meaning: str


*_SOME, _LAST = PLATFORMS
_PLATFORMS: Final = f"{', '.join(_SOME)} or {_LAST}"
_LAST_PAYLOAD: Final = "of the payload of observed_at, and unknown where that one does not tell"
_DATE_ALONE: Final = "where the post's posted_at is a date alone, it may be a day off"

_SHARED: Final[dict[str, tuple[Kind, str, str]]] = {
    "platform": ("text", "", _PLATFORMS),
    "post_id": ("text", "", "the platform's own id of the post, always as text"),
    "url": ("text", "", "the post's canonical URL"),
    "author_id": ("text", "", "the platform's own id of the author"),
    "author_username": ("text", "", "the author's user name, without @"),
    "author_name": ("text", "", "the author's name as shown"),
    "author_followers": ("count", "accounts", "followers of the author in the same payload"),
    "plays": ("count", "plays", "times played, as the platform counts them; never stands in for views"),
    "views": ("count", "views", "times viewed, as the platform counts them; never stands in for plays"),
    "likes": ("count", "likes", "likes; unknown where the owner hides them (see likes_hidden)"),
    "likes_hidden": (
        "flag",
        "",
        "the owner hides the number of likes; false also where the post was never measured (observed_at is empty)",
    ),
    "comments": ("count", "comments", "comments that the platform counts"),
    "shares": ("count", "shares", "shares; on X reposts"),
    "saves": ("count", "saves", "saves; on X bookmarks"),
    "null_reasons": ("mapping", "", "why a column of this row is unknown: column to reason"),
    "channel": ("text", "", "through which the metadata came: apify, rapid or memories.ai"),
    "observed_at": ("time", "UTC", "when the numbers of this row were measured"),
    "first_seen_at": ("time", "UTC", "when it was first seen"),
    "run_id": ("text", "", "the run that measured it"),
    "parser_version": ("text", "", "version of the mapper that read the payload"),
    "raw_sha256": ("text", "", "hash of the stored payload that the row was read from"),
    "hashtag": ("text", "", "the hashtag, without #, in lower case; unknown for imports by URL or creator"),
    "status": ("text", "", "pending, enriched, failed or gone"),
}

_OF: Final[dict[What, dict[str, tuple[Kind, str, str]]]] = {
    "posts": {
        "shortcode": ("text", "", "Instagram's code in the URL; other platforms have none"),
        "author_verified": ("flag", "", "the platform shows the author as verified"),
        "caption": ("text", "", "the caption; unknown where there is none"),
        "hashtags": ("texts", "", "hashtags of the caption as written, without #"),
        "mentions": ("texts", "", "accounts that the caption mentions as written, without @"),
        "posted_at": (
            "time",
            "UTC",
            "when it was posted; midnight UTC where a payload tells a date alone, as some of YouTube's do (extra holds "
            "it as posted_at_as_given): the time of day is not known then, and it may be a day off",
        ),
        "media_type": ("text", "", "video, image or carousel"),
        "product_type": ("text", "", "the platform's own kind of post, such as clips or short"),
        "duration_seconds": ("number", "seconds", "length of a video"),
        "width": ("count", "pixels", "width of the media"),
        "height": ("count", "pixels", "height of the media"),
        "audio_id": ("text", "", "the platform's own id of the sound"),
        "audio_title": ("text", "", "title of the sound"),
        "audio_artist": ("text", "", "artist of the sound"),
        "audio_is_original": ("flag", "", "the sound was made for this post"),
        "has_audio": ("flag", "", "the video has sound"),
        "location_name": ("text", "", "the place that the post names"),
        "is_paid_partnership": ("flag", "", "the post is marked as a paid partnership"),
        "coauthors": ("texts", "", "user names of further authors"),
        "tagged_users": ("texts", "", "user names tagged in the media"),
        "engagement_rate_by_followers": ("number", "ratio", "(likes + comments) / author_followers, of one payload"),
        "engagement_rate_by_plays": (
            "number",
            "ratio",
            "(likes + comments + shares + saves, those that the platform has) / plays, of one payload",
        ),
        "extra": ("json", "", "what only this platform or form of payload has"),
        "source_hashtags": ("texts", "", "hashtags whose import found the post, in lower case"),
        "collections": ("texts", "", "collections that brought it in (with --collection: that one only)"),
        "enriched_at": ("time", "UTC", "when metadata was first stored; unknown until then"),
        "observed_at": ("time", "UTC", "when the numbers of this row were measured; unknown until then"),
        "import_ids": ("texts", "", "imports that listed the post, oldest first"),
    },
    "snapshots": {
        "age_seconds": ("count", "seconds", f"observed_at - posted_at; {_DATE_ALONE}"),
        "target_age": (
            "count",
            "seconds",
            "checkpoint of the snapshot plan that it answers; unknown outside the plan; decided by age_seconds: "
            f"{_DATE_ALONE}",
        ),
        "lateness_seconds": (
            "count",
            "seconds",
            f"age_seconds - target_age; unknown outside the plan; {_DATE_ALONE}",
        ),
    },
    "creators": {
        "verified": ("flag", "", f"the platform shows the creator as verified; {_LAST_PAYLOAD}"),
        "followers": (
            "count",
            "accounts",
            f"followers; {_LAST_PAYLOAD}: those of before stand in the snapshots, each with its time",
        ),
        "observed_at": ("time", "UTC", "when the creator was last seen in a payload"),
        "posts_known": ("count", "posts", "posts of the creator in this database"),
    },
    "comments": {
        "comment_id": ("text", "", "the platform's own id of the comment"),
        "author": ("text", "", "who wrote it: a keyed hash, unless the settings keep user names"),
        "text": ("text", "", "the comment"),
        "likes": ("count", "likes", "likes of the comment"),
        "created_at": ("time", "UTC", "when it was written"),
        "observed_at": ("time", "UTC", "when it was last seen in a payload"),
    },
    "imports": {
        "import_id": ("text", "", "Tagtrail's own id of the import"),
        "task_id": ("text", "", "the vendor's id of the import task; unknown until it was accepted"),
        "kind": ("text", "", "hashtag, urls or creator"),
        "collection": ("text", "", "the collection that planned the import"),
        "namespace": ("text", "", "the API's unique_id"),
        "library": ("text", "", "private or public"),
        "requested": ("count", "posts", "posts asked for"),
        "state": (
            "text",
            "",
            "planned, sending, submitted, collecting, complete, empty, failed, ambiguous or dropped; "
            "empty means that nothing was seen by then",
        ),
        "seen": ("count", "posts", "posts that it listed"),
        "new": ("count", "posts", "of them not known before"),
        "known": ("count", "posts", "of them known already"),
        "submitted_at": ("time", "UTC", "when it was sent; unknown until then"),
        "finished_at": ("time", "UTC", "when it ended; unknown until then"),
        "cost_usd": ("number", "US dollars", "what it cost, estimated by the price table"),
        "run_id": ("text", "", "the run that planned it"),
        "note": ("text", "", "what is to be said about it, if anything"),
    },
    "failures": {
        "platform": ("text", "", f"{_PLATFORMS}; unknown where no post is known"),
        "post_id": ("text", "", "the platform's own id of the post; unknown where no post is known"),
        "url": ("text", "", "the URL that it is about"),
        "stage": ("text", "", "submit, poll, identify, metadata, parse or store"),
        "error_class": ("text", "", "kind of the error"),
        "code": ("text", "", "the vendor's or platform's code, if there was one"),
        "message": ("text", "", "what happened"),
        "attempts": ("count", "calls", "calls made before it was given up"),
        "channel": ("text", "", "the channel that was tried last"),
        "raw_sha256": ("text", "", "hash of the stored payload that could not be used"),
        "first_at": ("time", "UTC", "when it first happened"),
        "last_at": ("time", "UTC", "when it last happened"),
        "resolved_at": ("time", "UTC", "when a later success closed it; unknown while it is open"),
    },
}


def column_facts(what: What) -> list[ColumnFact]:
    """The facts of all public columns of `what`, in their order."""
    return [ColumnFact(name, *(_OF[what].get(name) or _SHARED[name])) for name in COLUMNS[what]]


UNSTATED: Final = "unstated"
"""The reason of an empty value where the row has no list of reasons, or none for it: see the column's meaning."""

_BY_STATUS: Final = {"pending": "not_measured_yet", "failed": "fetch_failed", "gone": "post_gone"}


@dataclass(frozen=True, slots=True)
class ColumnCoverage:
    """How far one column is filled; `share` is None where there are no rows."""

    name: str
    filled: int
    rows: int
    reasons: dict[str, int]

    @property
    def share(self) -> float | None:
        return self.filled / self.rows if self.rows else None


class Coverage:
    """The filled values and the reasons of the others, column by column, of all rows that went through `of`."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.rows = 0
        self._alike: Counter[tuple[tuple[str, ...], tuple[tuple[str, str], ...], str | None]] = Counter()
        """Rows by their empty columns, their reasons and their status: a few hundred kinds, however many rows."""

    def of(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The same rows, counted as they go by; memory does not grow with them."""
        for row in rows:
            self.count(row)
            yield row

    def count(self, row: Mapping[str, Any]) -> None:
        """Count one row, which has these columns and no other."""
        self.rows += 1
        empty = tuple([name for name, value in row.items() if value is None])
        if empty:
            reasons = row.get("null_reasons")
            self._alike[empty, tuple(reasons.items()) if reasons else (), row.get("status")] += 1

    def by_column(self) -> list[ColumnCoverage]:
        """What was counted so far, in the order of the columns; reasons with the most frequent first."""
        empty: dict[str, Counter[str]] = {name: Counter() for name in self.columns}
        for (names, stated, status), count in self._alike.items():
            reasons_of_row, otherwise = dict(stated), _BY_STATUS.get(str(status), UNSTATED)
            for name in names:
                empty[name][str(reasons_of_row.get(name, otherwise))] += count
        found = []
        for name, reasons in empty.items():
            ordered = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
            found.append(ColumnCoverage(name, self.rows - sum(reasons.values()), self.rows, ordered))
        return found
