"""`run`, `enrich` and `retry` up to the flow: what they ask of it, and what they never start."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.database.store import failures, import_planning, imports, money, overview, runs
from blocks.database.store.failures import GivenUp
from blocks.database.store.posts import mark_failed
from blocks.errors import TagtrailError, UnknownShape
from blocks.posts.identity import parse_post_url
from blocks.settings import Settings
from deployments.cli import servers
from deployments.cli.commands import retry, run
from deployments.cli.running import leading_posts
from deployments.cli.servers import PrefectServer
from flows.steps.run.request import NO_CAP_USD, request_for_hashtags
from flows.steps.run.summary import RunSummary

NOW = datetime(2026, 11, 20, tzinfo=UTC)
POST = "https://www.tiktok.com/@loom.3/video/7500000000000000003"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The flows that were called, with their parameters; none is really run, and no server is started."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def run_flow(entrypoint: str, parameters: dict[str, Any], **_: object) -> RunSummary:
        calls.append((entrypoint, parameters))
        return RunSummary(
            run_id="r", flow="f", outcome="done", message="all is well", collection="c", started_at=NOW, finished_at=NOW
        )

    def connect(settings: Settings) -> tuple[PrefectServer, Settings]:
        return PrefectServer("nowhere"), settings

    for command in (run, retry):
        monkeypatch.setattr(command, "run_flow", run_flow)
        monkeypatch.setattr(command, "connect", connect)
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-invented")
    return calls


def test_run_asks_for_what_was_typed(tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]]) -> None:
    called = tagtrail(
        "run", "#LVMH", "Dior", "--posts", "7", "--channel", "rapid", "--collection", "fashion", "--namespace", "n",
        "--library", "public", "--permanent", "--max-spend", "1.50", "--max-age", "0", "--fresh", "--json",
    )  # fmt: skip
    assert called.status == 0
    assert called.json["message"] == "all is well"
    told = "Estimate: up to 0.28 USD by the price table (0.14 for imports, 0.14 for metadata).\n"
    assert called.err.endswith(told)
    assert asked == [
        (
            "flows.track_hashtags:track_hashtags",
            {
                "hashtags": ["#LVMH", "Dior"],
                "posts_per_hashtag": 7,
                "channel": "rapid",
                "collection": "fashion",
                "namespace": "n",
                "library": "public",
                "permanent": True,
                "max_spend_usd": 1.5,
                "max_age_hours": 0.0,
                "reuse_hours": 6.0,
                "fresh": True,
            },
        )
    ]


def test_what_is_not_typed_comes_from_the_settings(
    tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_MAX_SPEND_USD_PER_RUN", "none")
    monkeypatch.setenv("TAGTRAIL_MAX_AGE_HOURS", "3")
    monkeypatch.setenv("TAGTRAIL_IMPORT_REUSE_HOURS", "2")
    assert tagtrail("run", "linen").status == 0
    parameters = asked[0][1]
    assert parameters["max_spend_usd"] == NO_CAP_USD
    assert (parameters["max_age_hours"], parameters["reuse_hours"], parameters["posts_per_hashtag"]) == (3, 2, 25)
    assert tagtrail("run", "linen", "--max-spend", "0").status == 0
    assert asked[1][1]["max_spend_usd"] == 0


def test_the_flows_take_these_parameters() -> None:
    """The flows are called by keyword: a parameter that they do not know would only be found when it is run."""
    import inspect

    from flows.enrich_posts import enrich_posts
    from flows.track_hashtags import track_hashtags

    ours = {
        "hashtags", "posts_per_hashtag", "channel", "collection", "namespace", "library", "permanent",
        "max_spend_usd", "max_age_hours", "reuse_hours", "fresh",
    }  # fmt: skip
    assert ours <= set(inspect.signature(track_hashtags.fn).parameters)
    given = {"urls", "channel", "collection", "max_spend_usd", "max_age_hours"}
    assert given <= set(inspect.signature(enrich_posts.fn).parameters)


def test_enrich_reads_urls_from_everywhere(
    tagtrail: Callable[..., Any],
    asked: list[tuple[str, dict[str, Any]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import io

    (tmp_path / "urls.txt").write_text("\ufeff# mine\nhttps://youtu.be/abcdefghijk\n\n", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO("https://x.com/i/status/1900000000000000001\n"))
    assert tagtrail("enrich", POST, "-", "--file", str(tmp_path / "urls.txt")).status == 0
    assert asked[0][0] == "flows.enrich_posts:enrich_posts"
    assert asked[0][1]["urls"] == [POST, "https://x.com/i/status/1900000000000000001", "https://youtu.be/abcdefghijk"]


def test_a_lone_hyphen_is_standard_input(
    tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(f"{POST}\n"))
    assert tagtrail("enrich", "--file", "-", "--channel", "rapid").status == 0
    assert (asked[0][1]["urls"], asked[0][1]["channel"]) == ([POST], "rapid")


@pytest.mark.usefixtures("one_day")
def test_a_dry_run_tells_of_today_and_of_imports_to_use_again(
    tagtrail: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, home_store: Store
) -> None:
    now = datetime.now(UTC)
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-invented")
    monkeypatch.setenv("HOME", str(home_store.url_shown))
    account = hashlib.sha256(b"sk-invented").hexdigest()[:16]
    wanted = request_for_hashtags(["Linen"], 25).imports[0]
    with home_store.begin() as conn:
        ticket = import_planning.plan_import(
            conn, account=account, kind="hashtag", hashtag="linen", wanted={"hashtag": "Linen"}, dedup_key=wanted.key,
            collection="default", namespace="default", library="private", requested=25, run_id="r1", owner="o",
            reuse_after=None, fresh=False, now=now,
        )  # fmt: skip
        imports.mark_sending(conn, ticket.import_id, owner="o", now=now)
        imports.mark_submitted(conn, ticket.import_id, "task-1", owner="o", now=now)
        purpose = money.Purpose(account, "r1", "default", "import", import_id=ticket.import_id)
        money.reserve(conn, purpose, micros=250_000, caps=money.Caps(), now=now)
    out = tagtrail("run", "linen", "--dry-run").out
    assert "1 hashtag (#linen), 25 posts each: up to 25 posts." in out
    assert "The cap per UTC day is 20.00 USD; 19.75 USD of it are left today." in out
    again = "An import of #linen of the last 6 h would be used again: it costs nothing."
    assert again in out
    for other in (["--fresh"], ["--posts", "26"], ["--namespace", "other"]):
        assert again not in tagtrail("run", "linen", "--dry-run", *other).out
    told = tagtrail("run", "linen", "--dry-run", "--json").json
    assert (told["spent_today_usd"], told["reusable_imports"]) == (0.25, [ticket.import_id])


def test_leading_posts_are_those_that_the_run_measured(filled: Store) -> None:
    def of(run_id: str, **changes: int) -> list[int | None]:
        ended = RunSummary.model_validate(
            {
                "run_id": run_id, "flow": "f", "outcome": "done", "message": "m", "collection": "fibres",
                "started_at": NOW, "finished_at": NOW, "enriched": 3, **changes,
            }
        )  # fmt: skip
        return [post.plays for post in leading_posts(filled, ended)]

    assert of("r1") == [2000, 1000, 0]
    assert of("r2") == []
    assert of("r1", fresh=3) == []


def test_a_dry_run_calls_nothing(
    tagtrail: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, clean_environment: Path
) -> None:
    monkeypatch.setattr(run, "connect", lambda *_: pytest.fail("a dry run needs no server"))
    called = tagtrail("run", "LVMH", "#dior", "--posts", "50", "--max-spend", "1", "--dry-run")
    assert called.status == 0
    assert "2 hashtags (#LVMH, #dior), 50 posts each: up to 100 posts." in called.out
    assert "In all: up to 2.00 USD" in called.out
    assert "The cap of 1.00 USD per run would halt this run before its end." in called.out
    assert "TikTok" in called.out
    told = tagtrail("run", "LVMH", "#dior", "--posts", "50", "--max-spend", "none", "--dry-run", "--json").json
    assert (told["total_usd"], told["posts"], told["max_spend_usd"]) == (2.0, 100, None)
    assert not clean_environment.exists()


def test_a_missing_key_starts_nothing(
    tagtrail: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, clean_environment: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setattr(servers.own_server, "ensure", lambda *_: pytest.fail("no server without a key"))
    for arguments in (["run", "linen"], ["enrich", POST]):
        called = tagtrail(*arguments)
        assert called.status == 2
        assert "MEMORIES_API_KEY is not set" in called.err
        assert "tagtrail demo" in called.err
    assert not clean_environment.exists()


def test_retry_takes_failed_posts_up_in_their_collection(
    tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]], filled: Store
) -> None:
    with filled.connect() as conn:
        (failed,) = failures.find(conn)
    called = tagtrail("retry", "--json", "--error", "UnknownShape")
    assert called.status == 0
    assert [one["message"] for one in called.json] == ["all is well"]
    assert asked[0][1]["urls"] == [failed.url]
    assert asked[0][1]["collection"] == "fibres"
    posts = tagtrail("export", "posts", "--status", "failed", "--format", "jsonl")
    assert len(posts.out.splitlines()) == 1  # the post itself changes only when its metadata comes


def test_retry_asks_the_collection_that_found_the_post_where_the_run_had_none(
    tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]], filled: Store
) -> None:
    unknown = parse_post_url(POST.replace("3", "8"))
    with filled.begin() as conn:
        (failed,) = failures.find(conn)
        # The sweep took it up again and gave it up again; nobody is known to have found the other one.
        runs.start_run(conn, run_id="sweep", flow="collect-imports", account="acc", now=NOW)
        again = [parse_post_url(failed.url or ""), unknown]
        marks = [GivenUp.post(ref, "parse", UnknownShape(["odd"]), attempts=2, run_id="sweep") for ref in again]
        mark_failed(conn, marks, NOW)
    assert tagtrail("retry").status == 0
    wanted = {parameters["collection"]: parameters["urls"] for _, parameters in asked}
    assert wanted == {"fibres": [failed.url], "default": [unknown.url]}


def test_retry_changes_nothing_before_there_is_a_server(
    tagtrail: Callable[..., Any],
    asked: list[tuple[str, dict[str, Any]]],
    filled: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def states() -> dict[str, int]:
        with filled.connect() as conn:
            return overview.overview(conn, NOW).pending_work

    def refuses(_: Settings) -> tuple[PrefectServer, Settings]:
        raise TagtrailError("no server")

    before = states()
    with monkeypatch.context() as patch:
        patch.setattr(retry, "connect", refuses)
        assert tagtrail("retry").status == 1
    assert states() == before
    assert tagtrail("retry").status == 0
    assert states() != before
    assert len(asked) == 1


@pytest.mark.usefixtures("filled")
def test_retry_leaves_other_failures_alone(
    tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]]
) -> None:
    for narrower in (["--error", "NoAnswer"], ["--platform", "instagram"], ["--before", "2026-11-20"]):
        called = tagtrail("retry", *narrower)
        assert called.status == 0
        assert "no failed post to take up again" in called.err
    assert tagtrail("retry", "--error", "NoAnswer", "--json").json == []
    assert asked == []


def test_a_key_in_clear_and_a_redirected_key_are_told_before_anything_is_sent(
    tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".env").write_text("MEMORIES_V1_BASE_URL=http://else.example/v1\n", encoding="utf-8")
    called = tagtrail("run", "linen")
    assert (called.status, asked) == (2, [])
    assert "MEMORIES_V1_BASE_URL sends the key unencrypted to else.example" in called.err
    assert called.err.startswith("tagtrail: ")
    assert "/.env sets MEMORIES_V1_BASE_URL: the key of the environment goes to else.example" in called.err
    monkeypatch.setenv("TAGTRAIL_ALLOW_HTTP", "1")
    called = tagtrail("run", "linen")
    assert (called.status, len(asked)) == (0, 1)
    assert "goes to else.example" in called.err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TAGTRAIL_MAX_SPEND_USD_PER_RUN", "inf"),
        ("TAGTRAIL_MAX_SPEND_USD_PER_DAY", "1e300"),
        ("TAGTRAIL_PRICES", '{"import_post": 4e-7}'),
        ("TAGTRAIL_IMPORTS_PER_MINUTE", "nan"),
    ],
)
def test_settings_without_a_bound_are_wrong_usage(
    name: str,
    value: str,
    tagtrail: Callable[..., Any],
    asked: list[tuple[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, value)
    called = tagtrail("run", "linen")
    assert (called.status, asked) == (2, [])
    assert called.err.startswith(f"tagtrail: {name}: ")
    assert called.err.count("\n") == 1
