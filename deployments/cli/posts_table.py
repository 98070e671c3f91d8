"""Posts as a table that fits its terminal: whole columns go before a number is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from rich import box
from rich.style import Style
from rich.table import Table
from rich.text import Text

from blocks.outside_words import plain

if TYPE_CHECKING:
    from blocks.database.tables import Post

Metric = Literal["plays", "views", "likes", "comments", "shares", "saves", "author_followers"]

UNKNOWN: Final = "–"
GAP: Final = 2
"""Columns of the terminal between two of the table's."""


@dataclass(frozen=True)
class _Column:
    name: str
    show: Callable[[Post], Text]
    number: bool = False
    shortest: int | None = None
    """Text that may be shortened to so many letters; None: whole, or not at all."""
    longest: int | None = None


def _count(name: Metric) -> _Column:
    def show(post: Post) -> Text:
        hidden = name == "likes" and post.likes_hidden
        return Text("hidden" if hidden else number(getattr(post, name)))

    return _Column(name, show, number=True)


def _link(url: str) -> Style:
    """A link that a terminal opens, where the address is one of plain characters."""
    return Style(link=url) if url.isascii() and url.isprintable() and url.startswith("https://") else Style()


def number(value: int | float | None) -> str:
    """A count with thousands apart; a dash where it is not known."""
    return UNKNOWN if value is None else f"{value:,}"


_COLUMNS: Final = (
    _Column("platform", lambda post: Text(post.platform)),
    _Column("post", lambda post: Text(plain(post.shortcode or post.post_id), style=_link(post.url))),
    _Column("posted", lambda post: Text(post.posted_at.date().isoformat() if post.posted_at else UNKNOWN)),
    _count("plays"),
    _count("views"),
    _count("likes"),
    _count("comments"),
    _count("shares"),
    _count("saves"),
    _count("author_followers"),
    # Last: terminals disagree about the width of Devanagari and emoji, and numbers after those would not be straight.
    _Column(
        "author",
        lambda post: Text(f"@{plain(post.author_username)}" if post.author_username else UNKNOWN),
        shortest=10,
        longest=20,
    ),
    _Column("caption", lambda post: Text(plain(post.caption or UNKNOWN)), shortest=16, longest=26),
)

_ONLY_WHERE_IT_RANKS: Final = ("saves", "author_followers")
_FIRST_TO_GO: Final = (
    "views", "caption", "shares", "posted", "comments", "platform", "author", "likes", "plays", "post",
)  # fmt: skip


def posts_table(posts: Sequence[Post], *, width: int, by: Metric = "plays") -> Table:
    """Posts as a table of at most `width` columns; `by` ranks them, and is the last to be left out.

    A number that is not known is a dash, never 0. Numbers, dates and ids are whole or, with their column, not
    there; only names and captions are shortened.
    """
    kept = [column for column in _COLUMNS if column.name not in _ONLY_WHERE_IT_RANKS or column.name == by]
    cells = {column.name: [column.show(post) for post in posts] for column in kept}
    natural = {
        column.name: max(len(column.name), *(cell.cell_len for cell in cells[column.name]), 1) for column in kept
    }
    least = {
        column.name: natural[column.name] if column.shortest is None else min(natural[column.name], column.shortest)
        for column in kept
    }
    for name in _FIRST_TO_GO:
        if _needed(kept, least) <= width:
            break
        if name != by:
            kept = [column for column in kept if column.name != name]
    spare = max(0, width - _needed(kept, least))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0), header_style="bold")
    for column in kept:
        wanted = natural[column.name] if column.longest is None else min(natural[column.name], column.longest)
        more = min(spare, wanted - least[column.name])
        spare -= more
        table.add_column(
            column.name,
            justify="right" if column.number else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=least[column.name] + more,
        )
    for row in zip(*(cells[column.name] for column in kept), strict=True):
        table.add_row(*row)
    return table


def _needed(columns: Sequence[_Column], least: dict[str, int]) -> int:
    return sum(least[column.name] for column in columns) + GAP * (len(columns) - 1)
