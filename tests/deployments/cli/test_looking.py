"""`status`, `top` and `resolve`: what they show, and what they decide."""

import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from blocks.database.engine import Store
from blocks.database.store import import_planning, import_polls, imports, money, rate_limits, runs
from blocks.database.store.import_polls import ItemSeen
from blocks.database.store.posts import EnrichedPost, save_posts
from blocks.posts.identity import parse_post_url
from blocks.posts.record import PostRecord
from blocks.processes import name_holder
from deployments.cli.commands import status as status_command

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))


def test_status_of_a_home_without_data(tagtrail: Callable[..., Any], clean_environment: Path) -> None:
    called = tagtrail("status")
    assert (called.status, called.out) == (0, "")
    assert "Prefect server: none configured, and none of Tagtrail running" in called.err
    told = tagtrail("status", "--json").json
    assert told | {"note": "", "next_snapshots": None} == {
        "prefect_server": None,
        "database": str(clean_environment / "tagtrail.db"),
        "overview": None,
        "gaps": [],
        "note": "",
        "next_snapshots": None,
    }
    assert not clean_environment.exists()


@pytest.mark.usefixtures("filled")
def test_status_tells_all(tagtrail: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example/api")
    called = tagtrail("status")
    assert called.status == 0
    assert "Prefect server: http://prefect.example/api (PREFECT_API_URL)" in called.err
    told = called.out.splitlines()
    assert told[:3] == [
        "Spent today: 0.00 USD of at most 20.00 (0 %); by UTC, estimated",
        "Limits: none makes a call wait",
        "Failures: 1 UnknownShape; take them up again: tagtrail retry",
    ]
    assert told[3].startswith("Next snapshots: ")
    assert told[4:8] == [
        "Posts: 4 of tiktok (3 enriched, 1 failed)",
        "Snapshots: 3",
        "Last run: track-hashtags of 2026-11-20 12:00 UTC, attention: 4 posts: 3 enriched",
        "no call; 0.00 USD; 4 new and 0 known posts, 3 new enriched, 0.00 USD per 1,000 new enriched posts",
    ]
    assert "a sample, not a census" in told[8]
    assert len(told) == 9
    told = tagtrail("status", "--json").json
    assert told["overview"]["posts"] == {"tiktok": {"enriched": 3, "failed": 1}}
    assert told["overview"]["spent_usd"] == 0
    assert told["overview"]["last_run"]["started_at"] == "2026-11-20T12:00:00Z"
    nothing = {
        "calls": {}, "spent_usd": 0, "new_posts": 0, "known_posts": 0, "new_enriched": 0, "usd_per_1000_new": None,
    }  # fmt: skip
    assert told["overview"]["today"] == nothing
    brought = {"new_posts": 4, "new_enriched": 3, "usd_per_1000_new": 0}
    assert told["overview"]["last_run"]["tally"] == nothing | brought


@pytest.mark.usefixtures("filled")
def test_status_of_one_collection(tagtrail: Callable[..., Any], doubtful: str) -> None:
    fibres = tagtrail("status", "--collection", "fibres", "--json").json["overview"]
    assert (fibres["posts"], fibres["snapshots"]) == ({"tiktok": {"enriched": 3, "failed": 1}}, 3)
    assert fibres["failures"] == {"UnknownShape": 1}
    assert fibres["last_run"]["run_id"] == "r1"
    other = tagtrail("status", "--collection", "default", "--json").json["overview"]
    assert (other["posts"], other["snapshots"], other["failures"], other["last_run"]) == ({}, 0, {}, None)
    assert [one["import_id"] for one in other["ambiguous"]] == [doubtful]


@pytest.mark.usefixtures("filled")
def test_status_of_an_unknown_collection_names_those_that_there_are(tagtrail: Callable[..., Any]) -> None:
    called = tagtrail("status", "--collection", "fibers")
    assert (called.status, called.out) == (2, "")
    assert called.err.endswith("tagtrail: there is no collection fibers; there are: fibres\n")


@pytest.mark.usefixtures("filled", "one_day")
def test_status_tells_of_today(tagtrail: Callable[..., Any], home_store: Store) -> None:
    with home_store.begin() as conn:
        purpose = money.Purpose("acc", "r1", "fibres", "metadata", "tiktok", "apify")
        now = datetime.now(UTC)
        spend_id = money.reserve(conn, purpose, micros=20_000, caps=money.Caps(), now=now)
        money.settle(conn, spend_id, spent_micros=20_000, calls=2, now=now)
    told = "2 tiktok/apify; 0.02 USD; "
    out = tagtrail("status").out
    assert f"Today: {told}0 new and 0 known posts, 0 new enriched (UTC)\n" in out
    each = "6.67 USD per 1,000 new enriched posts"
    assert f"\n{told}4 new and 0 known posts, 3 new enriched, {each}\n" in out
    of_one = tagtrail("status", "--collection", "fibres").out.splitlines()[0]
    assert of_one == (
        "Spent today: 0.02 USD by this collection; by all 0.02 USD of at most 20.00 (under 1 %); by UTC, estimated"
    )
    today = tagtrail("status", "--json").json["overview"]["today"]
    assert (today["calls"], today["spent_usd"], today["usd_per_1000_new"]) == ({"tiktok/apify": 2}, 0.02, None)


def test_status_shows_what_is_in_doubt_and_how_to_decide(tagtrail: Callable[..., Any], doubtful: str) -> None:
    out = tagtrail("status").out
    assert "In doubt: import of #tweed, ambiguous, 0 of 5 posts listed" in out
    assert f"tagtrail resolve {doubtful} --resubmit|--attach TASK_ID|--drop" in out
    assert tagtrail("resolve", doubtful, "--resubmit").status == 0
    unsent = re.compile(r"Open: import of #tweed, planned \d+ s ago, not sent, 5 posts asked for ", re.M)
    assert unsent.search(tagtrail("status").out)


@pytest.mark.usefixtures("one_day")
def test_status_tells_of_caps_and_limits(
    tagtrail: Callable[..., Any], home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_MAX_SPEND_USD_PER_DAY", "none")
    monkeypatch.setenv("TAGTRAIL_MAX_SPEND_USD_PER_COLLECTION", "10")
    now = datetime.now(UTC)
    with home_store.begin() as conn:
        runs.start_run(
            conn, run_id="r1", flow="enrich-posts", account="acc", collection="fibres", cap_micros=5_000_000, now=now
        )
        purpose = money.Purpose("acc", "r1", "fibres", "metadata", "tiktok", "apify")
        money.reserve(conn, purpose, micros=1_000_000, caps=money.Caps(collection_micros=10_000_000), now=now)
        rate_limits.pause(conn, account="acc", name="imports", seconds=3600)
        rate_limits.pause(conn, account="acc", name="metadata/apify", seconds=0, learned_interval=0.5)
    told = tagtrail("status").out.splitlines()
    assert told[:4] == [
        "Spent today: 1.00 USD, without a cap, 1.00 of it reserved; by UTC, estimated",
        "Collection: fibres spent 1.00 USD of at most 10.00 (10 %), ever",
        "Limits: imports: the next call in 60 min · metadata/apify: lowered by the service to 2 a second",
        "Open: nothing; nothing is held, in doubt or failed either",
    ]
    assert next(line for line in told if line.startswith("Last run: ")).endswith("; 1.00 USD of at most 5.00 (20 %)")


def test_status_on_a_terminal_breaks_between_words() -> None:
    command = "tagtrail resolve 13d9ed9b-af80-4461-bd14-4c2fdcb078ab --drop"
    told = [
        ("Spent today", "0.08 USD of at most 20.00 (under 1 %)"),
        ("In doubt", f"import of #ผ้าไหมไทย, ambiguous, 0 of 25 posts listed, planned 3 s ago; decide it: {command}"),
        ("Open", "import of #布地東京 in the collection फ़ैशन 🎉, collecting, 8 of 25 posts listed, planned 3 s ago"),
    ]
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    status_command.show(told, terminal)
    lines = terminal.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(cell_len, lines)) <= 80
    # Labels in one column, texts in another.
    assert [line[:13].strip() for line in lines] == ["Spent today", "In doubt", "", "", "Open", ""]
    assert " ".join(line[13:].strip() for line in lines) == " ".join(text for _, text in told)


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 s"), (40, "40 s"), (200, "3 min"), (7200, "2 h"), (400_000, "5 days")]
)
def test_ages(seconds: float, words: str) -> None:
    assert status_command.age(seconds) == words


@pytest.mark.usefixtures("filled")
def test_top(tagtrail: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    called = tagtrail("top", "Linen", "--limit", "2")
    assert called.status == 0
    rows = [line.split() for line in called.out.splitlines() if "tiktok" in line]
    assert rows == [
        ["tiktok", "7500000000000000002", "2026-11-20", "2,000", "2", "–", "@loom.2"],
        ["tiktok", "7500000000000000001", "2026-11-20", "1,000", "1", "–", "@loom.1"],
    ]
    assert max(map(len, called.out.splitlines())) <= 80
    told = tagtrail("top", "--by", "likes", "--json").json
    assert [post["likes"] for post in told] == [2, 1, 0]
    assert told[0]["observed_at"] == "2026-11-20T12:00:00Z"
    assert tagtrail("top", "wool", "--json").json == []


@pytest.mark.usefixtures("filled")
def test_top_without_a_row_says_so(tagtrail: Callable[..., Any]) -> None:
    called = tagtrail("top", "--by", "saves")
    assert (called.status, called.out) == (0, "")
    assert "There is no such post with a known number of saves." in called.err


@pytest.mark.usefixtures("filled")
def test_top_of_an_unknown_hashtag_says_so_once(tagtrail: Callable[..., Any]) -> None:
    called = tagtrail("top", "nope")
    assert (called.status, called.out) == (0, "")
    database, *sentences = called.err.splitlines()
    assert database.startswith("Database: ")
    assert sentences == ["There is no import of the hashtag nope in the database; there are linen."]


def test_top_shows_the_number_that_ranks(
    tagtrail: Callable[..., Any], record: Callable[..., PostRecord], home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    saved = EnrichedPost(
        record=record(1, saves=4_321_000), channel="apify", observed_at=NOW, run_id="r1", parser_version="1"
    )
    with home_store.begin() as conn:
        save_posts(conn, [saved], NOW)
    heading, _, row = (line.split() for line in tagtrail("top", "--by", "saves").out.splitlines() if line.strip())
    assert row[heading.index("saves")] == "4,321,000"


def test_status_shows_what_ended_empty_lately(tagtrail: Callable[..., Any], home_store: Store) -> None:
    now = datetime.now(UTC)
    with home_store.begin() as conn:
        for tag, ended in (("tulle", now - timedelta(hours=47)), ("felt", now - timedelta(hours=49))):
            ticket = import_planning.plan_import(
                conn, account="acc", kind="hashtag", hashtag=tag, wanted={"hashtag": tag}, dedup_key=tag,
                collection="default", namespace="default", library="private", requested=5, run_id="r1", owner="o",
                reuse_after=None, fresh=False, now=ended,
            )  # fmt: skip
            imports.mark_sending(conn, ticket.import_id, owner="o", now=ended)
            imports.mark_submitted(conn, ticket.import_id, f"task-{tag}", owner="o", now=ended)
            imports.finish_import(conn, ticket.import_id, state="empty", now=ended)
    out = tagtrail("status").out
    assert "Empty: import of #tulle, empty, 0 of 5 posts listed" in out
    assert "not to say that nothing exists" in out
    assert "felt" not in out


def test_resolve_attaches_by_the_first_letters(tagtrail: Callable[..., Any], doubtful: str, home_store: Store) -> None:
    called = tagtrail("resolve", doubtful[:8], "--attach", "task-9", "--json")
    assert called.status == 0
    assert called.json["state"] == "submitted"
    with home_store.connect() as conn:
        assert imports.get(conn, doubtful).task_id == "task-9"
    # The wrong task, which nobody has listed anything of: taken back.
    assert tagtrail("resolve", doubtful, "--attach", "task-10").status == 0
    with home_store.begin() as conn:
        assert imports.get(conn, doubtful).task_id == "task-10"
        imports.lease_import(conn, doubtful, owner=name_holder())
    followed = tagtrail("resolve", doubtful, "--drop")
    assert followed.status == 2
    assert "a run follows import" in followed.err
    with home_store.begin() as conn:
        imports.release_import(conn, doubtful, owner=name_holder())
        imports.finish_import(conn, doubtful, state="empty")
    assert tagtrail("resolve", doubtful, "--resubmit", "--json").json["task_id"] is None
    with home_store.begin() as conn:
        row = imports.get(conn, doubtful)
        assert (row.state, row.finished_at, row.next_look_at) == ("planned", None, None)
        imports.mark_sending(conn, doubtful, owner="o")
        imports.mark_ambiguous(conn, doubtful, note="no answer", owner="o")
    assert tagtrail("resolve", doubtful, "--attach", "task-11").status == 0
    with home_store.begin() as conn:
        ref = parse_post_url("https://www.tiktok.com/@loom/video/7500000000000000001")
        import_polls.record_poll(conn, doubtful, [ItemSeen("V1", ref.url, "PARSE", ref)])
    listed = tagtrail("resolve", doubtful, "--resubmit")
    assert listed.status == 2
    assert "as long as it listed nothing" in listed.err


@pytest.mark.parametrize(
    ("decision", "state", "said"),
    [
        ("--resubmit", "planned", "is planned again; the next run of it sends it."),
        ("--drop", "dropped", "is dropped; the next run of it starts a new one."),
    ],
)
def test_resolve(
    decision: str, state: str, said: str, tagtrail: Callable[..., Any], doubtful: str, home_store: Store
) -> None:
    called = tagtrail("resolve", doubtful, decision)
    assert called.status == 0
    assert called.out == f"Import {doubtful} of #tweed {said}\n"
    with home_store.connect() as conn:
        assert imports.get(conn, doubtful).state == state


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["IMPORT"], "say one of --resubmit, --attach TASK_ID and --drop"),
        (["IMPORT", "--drop", "--resubmit"], "say one of"),
        (["0123456789", "--drop"], "there is no import 0123456789"),
        (["ab", "--drop"], "at least the first 4 letters"),
    ],
)
def test_resolve_refuses(arguments: list[str], said: str, tagtrail: Callable[..., Any], doubtful: str) -> None:
    called = tagtrail("resolve", *[doubtful if word == "IMPORT" else word for word in arguments])
    assert called.status == 2
    assert said in called.err


def test_resolve_without_a_database(tagtrail: Callable[..., Any]) -> None:
    assert tagtrail("resolve", "abcdef", "--drop").status == 2


def test_invented_data_is_marked(tagtrail: Callable[..., Any], filled: Store, tmp_path: Path) -> None:
    for command in (("status",), ("top",)):
        called = tagtrail(*command)
        assert "Invented data" not in called.out + called.err
    with filled.begin() as conn:
        runs.start_run(
            conn, run_id="sand", flow="track-hashtags", account="acc", collection="fibres",
            parameters={"service": "127.0.0.1:8787"}, now=datetime.now(UTC),
        )  # fmt: skip
        purpose = money.Purpose(account="acc", run_id="sand", collection="fibres", kind="metadata", platform="tiktok")
        money.reserve(conn, purpose, micros=1, caps=money.Caps(), now=datetime.now(UTC))
    assert tagtrail("status").out.startswith("Invented data: ")
    assert json.loads(tagtrail("status", "--json").out)["invented"].startswith("Invented data: ")
    assert tagtrail("top").out.startswith("Invented data: ")
    as_json = tagtrail("top", "--json")
    assert json.loads(as_json.out)
    assert "Invented data: " in as_json.err
    target = tmp_path / "posts.csv"
    assert tagtrail("export", "posts", "--output", str(target)).status == 0
    dictionary = json.loads((tmp_path / "posts.csv.dictionary.json").read_text(encoding="utf-8"))
    assert dictionary["invented"].startswith("Invented data: ")
