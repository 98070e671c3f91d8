"""What a run wrote, table by table: the numbers that Prefect keeps with the tables as assets."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Subquery, and_, exists, func, select, union

from blocks.database.store.statements import same_post, table_of
from blocks.database.tables import Comment, ImportItem, Post, Run, RunImport, RunPost, Snapshot

_posts, _snapshots, _comments = table_of(Post), table_of(Snapshot), table_of(Comment)
_items, _run_imports, _run_posts = table_of(ImportItem), table_of(RunImport), table_of(RunPost)
_runs = table_of(Run)


@dataclass(frozen=True, slots=True)
class Written:
    """Rows that a run wrote or wrote anew, and the name of the database (`default` for a SQLite file).

    `first_measured` are the posts that it was the first to measure, in whichever try of its flow run.
    """

    database: str
    posts: int
    snapshots: int
    creators: int
    comments: int
    first_measured: int = 0

    def by_table(self) -> dict[str, int]:
        """The numbers by the tables' names."""
        return {
            "posts": self.posts,
            "snapshots": self.snapshots,
            "creators": self.creators,
            "comments": self.comments,
        }


def written(conn: Connection, run_id: str) -> Written:
    """Count what a run measured, among the posts that it was given and those that its imports listed."""
    mine = _measured(run_id)
    of_post = same_post(_posts.c, mine.c)
    author = select(_posts.c.platform, _posts.c.author_id).join(mine, of_post).where(_posts.c.author_id.is_not(None))
    comment = and_(same_post(_comments.c, mine.c), _comments.c.observed_at == mine.c.observed_at)
    posts = select(mine.c.platform, mine.c.post_id).distinct().subquery()
    earlier = _snapshots.alias()
    # Earlier snapshots may have been erased by age; a run that is tried again keeps its first start.
    began = select(_runs.c.started_at).where(_runs.c.run_id == run_id).scalar_subquery()
    first = (
        select(mine.c.platform, mine.c.post_id)
        .join(_posts, and_(of_post, _posts.c.enriched_at >= began))
        .where(~exists().where(same_post(earlier.c, mine.c), earlier.c.observed_at < mine.c.observed_at))
    )
    return Written(
        database="default" if conn.dialect.name == "sqlite" else conn.engine.url.database or "default",
        posts=_count(conn, posts),
        snapshots=_count(conn, mine),
        creators=_count(conn, author.distinct().subquery()),
        comments=_count(conn, select(_comments.c.comment_id).join(mine, comment).subquery()),
        first_measured=_count(conn, first.subquery()),
    )


def _measured(run_id: str) -> Subquery:
    """The snapshots of a run, found by its posts: the table is too long to be looked through."""
    listed = (
        select(_items.c.platform, _items.c.post_id)
        .join(_run_imports, _run_imports.c.import_id == _items.c.import_id)
        .where(_run_imports.c.run_id == run_id, _items.c.post_id.is_not(None))
    )
    given = select(_run_posts.c.platform, _run_posts.c.post_id).where(_run_posts.c.run_id == run_id)
    asked = union(listed, given).subquery()
    by_this_run: ColumnElement[bool] = _snapshots.c.run_id == run_id
    return (
        select(_snapshots.c.platform, _snapshots.c.post_id, _snapshots.c.observed_at)
        .join(asked, and_(same_post(_snapshots.c, asked.c), by_this_run))
        .subquery()
    )


def _count(conn: Connection, rows: Subquery) -> int:
    return conn.execute(select(func.count()).select_from(rows)).scalar_one()
