"""Purge: what is erased is gone from every table and from the file, stays out where that was asked, and is counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import func, insert, select
from sqlmodel import SQLModel

from blocks.database.engine import Store, open_store
from blocks.database.purge import Target, purge
from blocks.database.store import import_planning, import_polls, meta, posts, raw_payloads, runs
from blocks.database.store.erasure import tables_of_posts
from blocks.database.store.failures import GivenUp
from blocks.database.store.filters import Filters
from blocks.database.store.import_polls import ItemSeen
from blocks.database.store.posts import EnrichedPost
from blocks.database.store.raw_payloads import RawAnswer
from blocks.database.store.reparse import reparse
from blocks.database.store.statements import table_of
from blocks.database.tables import Comment, Import, Post, RawPayload, Run, Snapshot, Spend
from blocks.dedup_keys import dedup_key
from blocks.errors import UnknownShape
from blocks.memories.responses import open_stored
from blocks.posts.identity import parse_post_url
from blocks.posts.payloads.mapping import map_post
from blocks.posts.payloads.pseudonyms import scrub_comments
from blocks.posts.record import PostRef
from tests.stored import plan, submit

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
CODES = ("DKr4Zt0sQ1x", "DKr4Zt0sQ2x", "DKr4Zt0sQ3x", "DKr4Zt0sQ4x")


def ref(code: str) -> PostRef:
    return parse_post_url(f"https://www.instagram.com/p/{code}/")


def key(code: str) -> tuple[str, str]:
    return "instagram", ref(code).post_id


def answer(code: str, author: str, *commenters: str) -> dict[str, Any]:
    return {
        "__typename": "XDTGraphVideo",
        "id": ref(code).post_id,
        "shortcode": code,
        "is_video": True,
        "video_play_count": 100,
        "owner": {"id": f"id-{author.lower()}", "username": author, "edge_followed_by": {"count": 9}},
        "edge_media_to_caption": {"edges": [{"node": {"text": f"unmistakable-{code}-{author}"}}]},
        "edge_media_to_parent_comment": {
            "count": len(commenters),
            "edges": [
                {"node": {"id": f"c-{code}-{name}", "text": f"said-{name}-{code}", "owner": {"username": name}}}
                for name in commenters
            ],
        },
    }


def buy(
    store: Store,
    code: str,
    author: str,
    *commenters: str,
    at: datetime = NOW,
    run_id: str = "r1",
    policy: Any = "pseudonymise",
) -> None:
    post = ref(code)
    with store.begin() as conn:
        secret = bytes.fromhex(meta.comment_key(conn))
        runs.take_posts(conn, run_id, [(post, post.url)], now=at)
        data = scrub_comments(answer(code, author, *commenters), policy, secret)
        body = orjson.dumps({"code": "0000", "data": data})
        [sha] = raw_payloads.save_raw(conn, [RawAnswer(post, body, "apify", post.url, "enrich", at, run_id)])
        record = map_post(data, post)
        saved = EnrichedPost(record=record, channel="apify", observed_at=at, run_id=run_id, raw_sha256=sha)
        posts.save_posts(conn, [saved], at)


@pytest.fixture
def filled(store: Store) -> Store:
    """Two posts by loom.works and two by others, one of them failed; an import that listed them, runs and money."""
    with store.begin() as conn:
        runs.start_run(
            conn, run_id="r1", flow="enrich-posts", collection="c", parameters={"urls": [ref(CODES[0]).url]}, now=NOW
        )
        runs.start_run(conn, run_id="r2", flow="import-creators", collection="c", parameters={"x": "other"}, now=NOW)
        wanted = {"creator": "https://www.instagram.com/loom.works/"}
        import_id = submit(conn, "r1", kind="creator", hashtag=None, wanted=wanted, dedup_key="w", now=NOW)
        listed = [ItemSeen(f"VI{code}", ref(code).url, "PARSE", ref(code)) for code in CODES]
        import_polls.record_poll(conn, import_id, listed, post_micros=10, now=NOW)
        spent = {"account": "acc", "day": "2026-01-01", "run_id": "r1", "kind": "metadata", "reserved_micros": 5}
        conn.execute(insert(table_of(Spend)).values(**spent, spend_id="s1", spent_micros=5, reserved_at=NOW))
    buy(store, CODES[0], "loom.works", "a.moth")
    buy(store, CODES[1], "Loom.Works")
    buy(store, CODES[2], "somebody.else", "loom.works", "a.moth")
    with store.begin() as conn:
        odd = GivenUp.post(ref(CODES[3]), "parse", UnknownShape(["odd"]), attempts=1, channel="apify", run_id="r1")
        posts.mark_failed(conn, [odd], NOW)
    return store


def counts(store: Store) -> dict[str, int]:
    with store.connect() as conn:
        found = {
            name: conn.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in SQLModel.metadata.tables.items()
        }
    return {name: count for name, count in found.items() if count}


def about(store: Store, code: str) -> dict[str, int]:
    """Rows about one post, by table."""
    with store.connect() as conn:
        found = {
            table.name: conn.execute(
                select(func.count()).select_from(table).where(table.c.post_id == ref(code).post_id)
            ).scalar_one()
            for table in tables_of_posts()
        }
    return {name: count for name, count in found.items() if count}


def the(store: Store, model: Any) -> list[Any]:
    with store.connect() as conn:
        return conn.execute(select(table_of(model))).all()


async def test_every_table_about_posts_is_known(store: Store) -> None:
    names = {table.name for table in tables_of_posts()}
    assert names >= {"posts", "snapshots", "comments", "raw_fetches", "import_items", "failures", "work", "run_posts"}


async def test_a_post_goes_with_all_that_is_stored_about_it(filled: Store) -> None:
    before = counts(filled)
    kept = about(filled, CODES[2])
    dry = await purge(filled, Target(post=ref(CODES[0])), dry_run=True)
    assert counts(filled) == before, "a dry run writes nothing"
    done = await purge(filled, Target(post=ref(CODES[0])))
    assert done.erased == dry.erased
    assert done.erased == {
        "posts": 1, "snapshots": 1, "comments": 1, "raw_fetches": 1, "raw_payloads": 1, "import_items": 1, "work": 1,
        "run_posts": 1, "runs (texts)": 1,
    }  # fmt: skip
    assert about(filled, CODES[0]) == {}
    assert about(filled, CODES[2]) == kept
    assert {row.run_id: row.parameters for row in the(filled, Run)} == {
        "r1": {"urls": ["erased"]},
        "r2": {"x": "other"},
    }
    [bought] = the(filled, Import)
    assert (bought.seen, bought.new, bought.known, bought.withheld, bought.cost_micros) == (3, 3, 0, 1, 40)
    assert len(the(filled, Spend)) == before["spend"], "money is history, and names nobody"

    again = await purge(filled, Target(post=ref(CODES[0])))
    assert again.erased == {}
    reread = await reparse(filled, open_answer=open_stored, filters=Filters(), comments="pseudonymise")
    assert (reread.answers, reread.is_empty) == (2, True)
    assert about(filled, CODES[0]) == {}


async def test_what_was_erased_on_request_stays_out(filled: Store) -> None:
    await purge(filled, Target(post=ref(CODES[0])))
    before = counts(filled)
    [bought] = the(filled, Import)
    with filled.begin() as conn:
        listed = [ItemSeen(f"VI{code}", ref(code).url, "PARSE", ref(code)) for code in CODES]
        result = import_polls.record_poll(conn, bought.import_id, listed, post_micros=10, now=NOW)
        assert (result.new_posts, result.row.seen, result.row.withheld, result.row.cost_micros) == ([], 3, 1, 40)
        posts.mark_gone(conn, [ref(CODES[0])], "r9", NOW)
        posts.mark_failed(conn, [GivenUp.post(ref(CODES[0]), "parse", UnknownShape([]), attempts=1)], NOW)
    # A run that had it when it was erased stores its answer, and that goes as well.
    buy(filled, CODES[0], "loom.works", run_id="r9")
    assert about(filled, CODES[0]) == {}
    assert counts(filled) == before


async def test_a_creator_goes_with_posts_and_comments_and_stays_out(filled: Store) -> None:
    dry = await purge(filled, Target(platform="instagram", creator="loom.works"), dry_run=True)
    done = await purge(filled, Target(platform="instagram", creator="loom.works"))
    assert done.erased == dry.erased
    assert done.erased["posts"] == 2
    assert done.erased["comments"] == 2, "one below their own post, one of theirs below another's"
    assert done.erased["creators"] == 1
    assert done.erased["imports (texts)"] == 1
    [bought] = the(filled, Import)
    assert (bought.wanted, bought.note, bought.withheld) == ({}, "erased", 2)
    assert bought.dedup_key.startswith("erased:")
    assert {row.post_id for row in the(filled, Post)} == {ref(CODES[2]).post_id, ref(CODES[3]).post_id}

    # A post of theirs that nobody knew: bought, found to be theirs, and not kept.
    before = counts(filled)
    buy(filled, "DKr4Zt0sQ9x", "LOOM.works")
    assert about(filled, "DKr4Zt0sQ9x") == {}
    assert counts(filled)["posts"] == before["posts"]
    # The raw payload of the other's post still holds the comment; it does not come back as a row.
    reread = await reparse(filled, open_answer=open_stored, filters=Filters(), comments="pseudonymise")
    assert reread.is_empty
    assert (await purge(filled, Target(creator="loom.works"))).erased == {}


async def test_an_everyday_name_blanks_no_other_run_or_import(store: Store) -> None:
    asked = {"imports": [{"kind": "hashtag", "wanted": {"hashtag": "auto"}}], "channel": "auto", "library": "private"}
    with store.begin() as conn:
        runs.start_run(conn, run_id="r1", flow="track-hashtags", collection="default", parameters=asked, now=NOW)
        runs.finish_run(conn, "r1", outcome="done", message="auto", summary={"how": "auto", "auto": 1}, now=NOW)
    buy(store, CODES[0], "auto")
    done = await purge(store, Target(creator="auto"))
    assert done.erased == {
        "posts": 1, "snapshots": 1, "creators": 1, "raw_fetches": 1, "raw_payloads": 1, "work": 1, "run_posts": 1
    }  # fmt: skip
    [row] = the(store, Run)
    assert (row.parameters, row.summary, row.message) == (asked, {"how": "auto", "auto": 1}, "auto")


async def test_an_import_of_other_posts_stays_one_of_those(store: Store) -> None:
    def planned(codes: tuple[str, ...], run_id: str) -> import_planning.Ticket:
        with store.begin() as conn:
            return plan(
                conn, run_id, kind="urls", hashtag=None, wanted={"urls": [ref(code).url for code in codes]},
                dedup_key=dedup_key("urls", [":".join(key(code)) for code in codes], "n", "private"), namespace="n",
                requested=len(codes), reuse_after=NOW - DAY, now=NOW, alive=lambda owner: False,
            )  # fmt: skip

    batch = planned(CODES[:3], "r1")
    alone = planned(CODES[:1], "r1")
    beside = planned(CODES[1:3], "r2")
    assert (await purge(store, Target(post=ref(CODES[0])))).erased["imports (texts)"] == 2
    rows = {row.import_id: row for row in the(store, Import)}
    left = rows[batch.import_id]
    assert (left.state, left.requested, left.forced) == ("planned", 2, True)
    assert left.wanted == {"urls": [ref(CODES[1]).url, ref(CODES[2]).url]}
    assert (rows[alone.import_id].state, rows[alone.import_id].wanted) == ("dropped", {})
    assert rows[beside.import_id].wanted == left.wanted
    # The next run that wants the others takes up what was planned, and no more is bought than that.
    assert planned(CODES[1:3], "r3").import_id in (batch.import_id, beside.import_id)
    assert (await purge(store, Target(post=ref(CODES[0])))).erased == {}


@pytest.mark.parametrize("typed", ["ärztetv", "ÄRZTETV", "@ÄrzteTV"])
async def test_a_name_beyond_ascii_is_found_in_any_case(store: Store, typed: str) -> None:
    buy(store, CODES[0], "ÄrzteTV", "a.moth")
    buy(store, CODES[1], "other", "ÄrzteTV", policy="keep")
    buy(store, CODES[3], "ÄRZTEtv")
    with store.begin() as conn:
        nameless = table_of(Post).c.post_id == ref(CODES[3]).post_id
        conn.execute(table_of(Post).update().values(author_id=None).where(nameless))
        conn.execute(
            table_of(Post).update().values(mentions=["ÄRZTEtv"]).where(table_of(Post).c.post_id == key(CODES[1])[1])
        )
    done = await purge(store, Target(platform="instagram", creator=typed))
    assert (done.erased["posts"], done.erased["comments"]) == (2, 2)
    assert "1 posts of other people mention them" in done.notes[0]
    assert about(store, CODES[0]) == {}
    buy(store, CODES[2], "ärzteTV")
    assert about(store, CODES[2]) == {}


async def test_a_kept_commenter_stays_out_however_the_name_is_written(store: Store) -> None:
    def comments(at: datetime) -> list[str]:
        buy(store, CODES[1], "other", "Jane.Doe", "@jane.doe", "a.moth", at=at, policy="keep")
        return sorted(row.author for row in the(store, Comment))

    assert comments(NOW) == ["Jane.Doe", "a.moth", "jane.doe"]
    assert (await purge(store, Target(creator="jane.doe"))).erased == {"comments": 2}
    assert comments(NOW + DAY) == ["a.moth"]


async def test_a_shared_payload_stays_with_the_other_post(store: Store) -> None:
    with store.begin() as conn:
        for code in CODES[:2]:
            posts.ensure_posts(conn, [(ref(code), None)], NOW, "r1")
            raw_payloads.save_raw(
                conn, [RawAnswer(ref(code), b"the same", "apify", ref(code).url, "enrich", NOW, "r1")]
            )
    assert "raw_payloads" not in (await purge(store, Target(post=ref(CODES[0])))).erased
    assert len(the(store, RawPayload)) == 1
    assert (await purge(store, Target(post=ref(CODES[1])))).erased["raw_payloads"] == 1


async def test_retention_erases_by_age_and_lets_what_is_found_again_in(filled: Store) -> None:
    old = NOW - 100 * DAY
    buy(filled, CODES[0], "loom.works", at=NOW - 95 * DAY)
    with filled.begin() as conn:
        post = table_of(Post)
        for code in CODES[1], CODES[3]:
            conn.execute(
                post.update().where(post.c.post_id == ref(code).post_id).values(
                    last_seen_at=old, observed_at=None if code == CODES[3] else old
                )
            )  # fmt: skip
        conn.execute(table_of(Run).update().values(finished_at=NOW))  # a run under way keeps its posts
        conn.execute(table_of(Run).update().where(table_of(Run).c.run_id == "r2").values(started_at=old))
    cutoff = Target(cutoff=NOW - 90 * DAY)
    before = counts(filled)
    dry = await purge(filled, cutoff, dry_run=True)
    assert counts(filled) == before
    done = await purge(filled, cutoff)
    assert done.erased == dry.erased
    assert {row.post_id for row in the(filled, Post)} == {ref(CODES[0]).post_id, ref(CODES[2]).post_id}
    assert len(about(filled, CODES[0])) > 5
    observed = [row.observed_at for row in the(filled, Snapshot) if row.post_id == ref(CODES[0]).post_id]
    assert observed == [NOW], "an old snapshot of a post that is measured still goes as well"
    assert {row.run_id: row.parameters is None for row in the(filled, Run)} == {"r1": False, "r2": True}
    with filled.connect() as conn:
        kept = conn.execute(select(func.count()).select_from(table_of(RawPayload))).scalar_one()
    assert kept == 2
    assert (await purge(filled, cutoff)).erased == {}
    buy(filled, CODES[1], "loom.works")
    assert about(filled, CODES[1])["snapshots"] == 1


async def test_nothing_of_it_is_left_in_the_files_of_sqlite(sqlite_store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    with_it = open_store(f"sqlite:///{folder / 'tagtrail.db'}", create=True)
    try:
        for number in range(20):
            # Measured again and again: each update leaves a copy of the caption somewhere in the pages.
            buy(with_it, CODES[0], "loom.works", "a.moth", at=NOW + number * DAY)
            buy(with_it, CODES[1], "somebody.else", at=NOW + number * DAY)
        words = (b"unmistakable-DKr4Zt0sQ1x", b"said-a.moth", ref(CODES[0]).post_id.encode(), b"loom.works")

        def held() -> list[bytes]:
            content = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
            return [word for word in words if word in content]

        assert held() == list(words)
        done = await purge(with_it, Target(creator="loom.works"))
        assert done.notes == []
        assert held() == []
        assert b"unmistakable-DKr4Zt0sQ2x" in b"".join(path.read_bytes() for path in folder.iterdir())
    finally:
        with_it.close()


async def test_an_erased_post_gets_no_row(filled: Store) -> None:
    await purge(filled, Target(post=ref(CODES[3])))
    with filled.begin() as conn:
        posts.ensure_posts(conn, [(ref(CODES[3]), None)], NOW, "r9")
    assert about(filled, CODES[3]) == {}


async def test_copies_from_before_an_upgrade_are_named(sqlite_store: Store) -> None:
    assert sqlite_store.file is not None
    copy = sqlite_store.file.with_name(f"{sqlite_store.file.stem}-schema-0008-20260101T000000Z.db")
    copy.touch()
    dry = await purge(sqlite_store, Target(post=ref("AbC")), dry_run=True)
    done = await purge(sqlite_store, Target(post=ref("AbC")))
    assert dry.notes == []
    assert done.notes == [f"copies from before an upgrade still hold what was erased; delete them: {copy}"]
    assert copy.exists()
