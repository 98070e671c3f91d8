"""What a run may cost is told before it, by `--dry-run` and in one line, and what is there already is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.database.store import import_planning, import_polls, imports, posts, work
from blocks.database.store.import_polls import ItemSeen
from blocks.database.store.posts import EnrichedPost
from blocks.database.store.statements import Key
from blocks.posts.identity import parse_post_url
from blocks.posts.record import PostRecord
from blocks.settings import Settings
from deployments.cli.commands import run
from deployments.cli.estimates import tell_cost
from flows.steps.run.request import (
    NO_CAP_USD,
    RunRequest,
    request_for_hashtags,
    request_for_post_imports,
    request_for_urls,
)

POST = "https://www.tiktok.com/@loom.{}/video/750000000000000000{}"
URLS = [POST.format(number, number) for number in range(4)]
KEY = "sk-invented"


@pytest.fixture
def measured(home_store: Store, record: Callable[..., PostRecord], monkeypatch: pytest.MonkeyPatch) -> Store:
    """A finished import of #linen with four posts of four: two measured an hour ago, one two days ago, one never."""
    monkeypatch.setenv("MEMORIES_API_KEY", KEY)
    now = datetime.now(UTC)
    account = hashlib.sha256(KEY.encode()).hexdigest()[:16]
    wanted = request_for_hashtags(["linen"], 4).imports[0]
    with home_store.begin() as conn:
        ticket = import_planning.plan_import(
            conn, account=account, kind="hashtag", hashtag="linen", wanted=wanted.wanted, dedup_key=wanted.key,
            collection="default", namespace="default", library="private", requested=4, run_id="r1", owner="o",
            reuse_after=None, fresh=False, now=now,
        )  # fmt: skip
        imports.mark_sending(conn, ticket.import_id, owner="o", now=now)
        imports.mark_submitted(conn, ticket.import_id, "task-1", owner="o", now=now)
        refs = [parse_post_url(url) for url in URLS]
        import_polls.record_poll(
            conn, ticket.import_id, [ItemSeen(None, ref.url, "PARSE", ref) for ref in refs], now=now
        )
        imports.finish_import(conn, ticket.import_id, state="complete", now=now)
        for number, hours in ((0, 1), (1, 1), (2, 48)):
            at = now - timedelta(hours=hours)
            saved = EnrichedPost(record=record(number), channel="apify", observed_at=at, parser_version="1")
            posts.save_posts(conn, [saved], at)
    return home_store


def test_a_dry_run_of_enrich_calls_nothing(
    tagtrail: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, clean_environment: Path
) -> None:
    monkeypatch.setattr(run, "connect", lambda *_: pytest.fail("a dry run needs no server"))
    out = tagtrail("enrich", *URLS[:3], URLS[0], "--max-spend", "0.01", "--dry-run").out
    assert out.splitlines()[:2] == [
        "3 posts by URL, without an import.",
        "Metadata: up to 0.03 USD through apify, one call a post.",
    ]
    assert "In all: up to 0.03 USD" in out
    assert "The cap of 0.01 USD per run would halt this run before its end." in out
    assert "hashtag import" not in out
    assert out.endswith("Nothing was called.\n")
    told = tagtrail("enrich", *URLS[:3], "--channel", "rapid", "--dry-run", "--json").json
    assert (told["urls"], told["imports"], told["import_usd"], told["channel"]) == (3, 0, 0, "rapid")
    assert (told["posts"], told["total_usd"], told["posts_not_bought_again"]) == (3, 0.03, 0)
    assert not clean_environment.exists()


@pytest.mark.usefixtures("measured")
def test_what_is_measured_already_is_left_out(tagtrail: Callable[..., Any]) -> None:
    out = tagtrail("enrich", *URLS, "--dry-run").out
    assert "Metadata: up to 0.02 USD" in out
    assert "Not asked for again: 2 posts of the last 12 h." in out
    told = tagtrail("enrich", *URLS, "--max-age", "0", "--dry-run", "--json").json
    assert (told["metadata_usd"], told["posts_not_bought_again"]) == (0.04, 0)
    told = tagtrail("enrich", *URLS, "--max-age", "72", "--dry-run", "--json").json
    assert (told["metadata_usd"], told["posts_not_bought_again"]) == (0.01, 3)
    told = tagtrail("import", "urls", *URLS, "--dry-run", "--json").json
    assert (told["import_usd"], told["metadata_usd"]) == (0.04, 0.02)


@pytest.mark.usefixtures("measured")
def test_an_import_that_is_used_again_costs_only_what_is_not_measured(tagtrail: Callable[..., Any]) -> None:
    told = tagtrail("run", "linen", "--posts", "4", "--dry-run", "--json").json
    assert (told["import_usd"], told["metadata_usd"], told["posts_not_bought_again"]) == (0, 0.02, 2)
    told = tagtrail("run", "linen", "--posts", "5", "--fresh", "--dry-run", "--json").json
    assert (told["import_usd"], told["metadata_usd"]) == (0.05, 0.05)
    told = tagtrail("run", "linen", "denim", "--posts", "4", "--dry-run", "--json").json
    assert (told["import_usd"], told["metadata_usd"]) == (0.04, 0.06)


def test_an_import_that_ended_short_may_list_more(tagtrail: Callable[..., Any], measured: Store) -> None:
    with measured.begin() as conn:
        conn.exec_driver_sql("UPDATE imports SET requested = 6")
    told = tagtrail("run", "linen", "--posts", "4", "--dry-run", "--json").json
    assert (told["import_usd"], told["metadata_usd"]) == (0.02, 0.04)


@pytest.mark.usefixtures("measured")
def test_the_cost_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def told(request: RunRequest) -> str:
        tell_cost(request, Settings())
        out, err = capsys.readouterr()
        assert out == ""
        return err

    both = "Estimate: up to 0.06 USD by the price table (0.04 for imports, 0.02 for metadata)"
    assert told(request_for_post_imports(URLS)) == f"{both}.\n"
    assert told(request_for_post_imports(URLS, max_spend_usd=0.05)) == (
        f"{both}; the cap of 0.05 USD per run ends it before.\n"
    )
    assert told(request_for_post_imports(URLS, max_spend_usd=NO_CAP_USD)) == f"{both}.\n"
    assert told(request_for_urls(URLS)) == "Estimate: up to 0.02 USD by the price table (0.02 for metadata).\n"
    assert told(request_for_urls(URLS[:2])) == "Estimate: nothing to buy.\n"


def test_work_that_ended_lately_is_spared(store: Store) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    refs = [parse_post_url(url) for url in URLS]
    with store.begin() as conn:
        work.enqueue(conn, refs[:2], "enrich", now=now)
        posts.ensure_posts(conn, [(ref, None) for ref in refs], now, "r1")
        posts.mark_gone(conn, [refs[0]], None, now)

        def spared(hours: int) -> set[Key]:
            return work.spared(conn, refs, "enrich", fresh_after=now - timedelta(hours=hours))

        assert spared(1) == {("tiktok", refs[0].post_id)}
        assert spared(-1) == set()
