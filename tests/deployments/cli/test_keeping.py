"""The commands of raw payloads and people's data: `reparse`, `purge`, and what `status` says of gaps."""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlmodel import SQLModel

from blocks.database.engine import Store
from blocks.database.store import gaps, import_planning, import_polls, imports, posts, raw_payloads
from blocks.database.store.erased_names import Naming
from blocks.database.store.import_polls import ItemSeen, end_import
from blocks.database.store.posts import EnrichedPost
from blocks.database.store.raw_payloads import RawAnswer
from blocks.errors import TagtrailError
from blocks.exported_files import exported, note_export
from blocks.posts.identity import parse_post_url
from blocks.posts.payloads.mapping import map_post
from deployments.cli import running, servers
from deployments.cli.servers import PrefectServer

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
URL = "https://www.tiktok.com/@loom.9/video/7500000000000000009"


@pytest.fixture
def answered(home_store: Store) -> Store:
    """One post with its stored answer, read by a mapper that found no plays."""
    ref = parse_post_url(URL)
    data = [
        {
            "id": ref.post_id, "text": "a secret caption", "playCount": 5, "diggCount": 2, "shareCount": 1,
            "authorMeta": {"id": "a9", "name": "loom.9"},
        }
    ]  # fmt: skip
    with home_store.begin() as conn:
        posts.ensure_posts(conn, [(ref, URL)], NOW, "r1")
        body = orjson.dumps({"code": "0000", "data": data})
        [sha] = raw_payloads.save_raw(conn, [RawAnswer(ref, body, "apify", URL, "enrich", NOW, "r1")])
        record = map_post(data, ref)
        record.plays, record.null_reasons["plays"] = None, "not_in_payload"
        saved = EnrichedPost(
            record=record, channel="apify", observed_at=NOW, run_id="r1", raw_sha256=sha, parser_version="0"
        )
        posts.save_posts(conn, [saved], NOW)
    return home_store


def test_reparse_tells_and_then_writes_the_difference(answered: Store, tagtrail: Any) -> None:
    dry = tagtrail("reparse", "--dry-run")
    assert dry.status == 0
    assert "This would differ (nothing was written):" in dry.out
    assert "  plays: 1 gained (such as tiktok:7500000000000000009)" in dry.out
    assert "secret caption" not in dry.out + dry.err
    done = tagtrail("reparse", "--json")
    assert done.json["columns"]["posts"]["plays"] == {
        "gained": 1, "lost": 0, "changed": 0, "examples": ["tiktok:7500000000000000009"],
    }  # fmt: skip
    assert (done.json["dry_run"], done.json["answers"], done.json["touched"]) == (
        False,
        1,
        {"posts": 1, "snapshots": 1},
    )
    assert "Nothing differs." in tagtrail("reparse").out


def test_reparse_and_purge_of_a_home_without_data(tagtrail: Any) -> None:
    assert "Nothing differs." in tagtrail("reparse").out
    assert "nothing" in tagtrail("purge", "--post", URL, "--yes").out


def test_purge_asks_first_and_lists_the_files(
    answered: Store, tagtrail: Any, clean_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "posts.csv"
    file.write_text("x")
    note_export(clean_environment, file, "posts", 1, NOW)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    refused = tagtrail("purge", "--creator", "@loom.9")
    assert refused.status == 2
    assert "--dry-run first, then say --yes" in refused.err
    dry = tagtrail("purge", "--creator", "https://www.tiktok.com/@loom.9", "--dry-run")
    assert "Would be erased: creators 1, posts 1, raw_fetches 1, raw_payloads 1, snapshots 1, work 1." in dry.out
    done = tagtrail("purge", "--creator", "@loom.9", "--yes", "--json")
    assert done.json["erased"] == {
        "creators": 1, "posts": 1, "raw_fetches": 1, "raw_payloads": 1, "snapshots": 1, "work": 1,
    }  # fmt: skip
    assert [(each["path"], each["what"]) for each in done.json["exported_files"]] == [(str(file), "posts")]
    assert done.json["stays_out"] is True
    assert any("no Prefect server runs" in note for note in done.json["notes"])
    again = tagtrail("purge", "--creator", "@loom.9", "--yes")
    assert "Erased: nothing; the database holds nothing of it." in again.out
    assert "Exported files" not in again.out
    assert str(file) not in again.out
    file.unlink()
    assert exported(clean_environment) == []


@pytest.fixture
def on_server(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """A Prefect server of the user's own is configured; what is looked for on it, as the first post's id."""
    looked_for: list[str | None] = []

    async def erase_on_server(*, naming: Naming | None, before: datetime | None, dry_run: bool) -> Counter[str]:
        assert (naming is None) == (before is not None)
        looked_for.append(None if naming is None else next(iter(naming.words), ""))
        return Counter(runs=1)

    monkeypatch.setattr(servers, "configured", lambda: ("http://127.0.0.1:1/api", "PREFECT_API_URL"))
    monkeypatch.setattr(PrefectServer, "into", lambda self, environ: None)
    monkeypatch.setattr("flows.steps.upkeep.erasure.erase_on_server", erase_on_server)
    return looked_for


def test_purge_looks_where_runs_write(
    answered: Store, on_server: list[str], tagtrail: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_saved_database_url", lambda server: answered.engine.url.render_as_string())
    monkeypatch.setenv("TAGTRAIL_DATABASE_URL", f"sqlite:///{tmp_path / 'another.db'}")
    done = tagtrail("purge", "--post", URL, "--yes", "--json")
    assert (done.json["erased"]["posts"], done.json["prefect"]) == (1, {"runs": 1})
    assert on_server == ["7500000000000000009"]
    assert not (tmp_path / "another.db").exists()
    assert str(answered.engine.url.database) in tagtrail("refresh", "--dry-run").err


def test_purge_refuses_where_nobody_knows_which_database_is_meant(
    answered: Store, on_server: list[str], tagtrail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(server: PrefectServer) -> str:
        raise TagtrailError("the Prefect server cannot be reached; start it")

    monkeypatch.setattr(running, "_saved_database_url", away)
    refused = tagtrail("purge", "--post", URL, "--yes")
    assert (refused.status, refused.out) == (1, "")
    assert "cannot be reached; start it" in refused.err
    with answered.connect() as conn:
        assert conn.execute(SQLModel.metadata.tables["posts"].select()).all()


def test_purge_looks_through_prefect_without_a_database_too(
    on_server: list[str], tagtrail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_saved_database_url", lambda server: None)
    assert tagtrail("purge", "--post", URL).status == 2
    assert on_server == [], "it asks first"
    done = tagtrail("purge", "--post", URL, "--yes", "--json")
    assert (done.json["erased"], done.json["prefect"], done.json["stays_out"]) == ({}, {"runs": 1}, False)
    assert "there is no database yet" in done.json["notes"][0]
    assert tagtrail("purge", "--older-than", "90d", "--yes", "--json").json["prefect"] == {"runs": 1}
    assert on_server == ["7500000000000000009", None]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say one of"),
        (("--older-than", "90d", "--post", URL), "say one of"),
        (("--older-than", "soon"), "--older-than is a date"),
        (("--older-than", "2999-01-01"), "a time in the past"),
        (("--post", "https://example.com/x"), "example.com"),
        (("--creator", "https://example.com/x"), "profile"),
        (("--creator", "two words"), "a user name"),
    ],
)
def test_wrong_usage_of_purge(arguments: tuple[str, ...], words: str, tagtrail: Any) -> None:
    called = tagtrail("purge", *arguments, "--yes")
    assert called.status == 2
    assert words in called.err


def test_status_tells_gaps_and_that_it_is_a_sample(home_store: Store, tagtrail: Any) -> None:
    for number, hours in ((1, 48), (2, 24)):
        at = datetime.now(UTC) - timedelta(hours=hours)
        url = f"https://www.tiktok.com/player/v1/750000000000000000{number}"
        with home_store.begin() as conn:
            ticket = import_planning.plan_import(
                conn, account="acc", kind="hashtag", hashtag="linen", wanted={"hashtag": "Linen"}, dedup_key="w",
                collection="fibres", namespace="fibres", library="private", requested=1, run_id=f"r{number}",
                owner="o", reuse_after=None, fresh=False, now=at,
            )  # fmt: skip
            imports.mark_sending(conn, ticket.import_id, owner="o", now=at)
            imports.mark_submitted(conn, ticket.import_id, f"task-{number}", owner="o", now=at)
            import_polls.record_poll(conn, ticket.import_id, [ItemSeen("V", url, "PARSE", parse_post_url(url))], now=at)
            end_import(conn, ticket.import_id, state="complete", post_micros=0, run_id=f"r{number}", now=at)
    with home_store.connect() as conn:
        assert len(gaps.find(conn)) == 1
    told = tagtrail("status")
    assert "Gap: #linen (collection fibres): the imports of" in told.out
    assert "posts in between were probably missed" in told.out
    assert "a sample, not a census" in told.out
    assert [gap["hashtag"] for gap in tagtrail("status", "--json").json["gaps"]] == ["linen"]
