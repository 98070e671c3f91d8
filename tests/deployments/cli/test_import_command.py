"""`import urls` and `import creators` up to the flow: what they ask of it, what they cost, and what is refused."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from blocks.settings import Settings
from deployments.cli.commands import run
from deployments.cli.servers import PrefectServer
from flows.steps.run.summary import RunSummary

NOW = datetime(2026, 11, 20, tzinfo=UTC)
POST = "https://www.tiktok.com/@loom.3/video/7500000000000000003"
CREATOR = "https://www.tiktok.com/@loom.3"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The flows that were called, with their parameters; none is really run."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def run_flow(entrypoint: str, parameters: dict[str, Any], **_: object) -> RunSummary:
        calls.append((entrypoint, parameters))
        return RunSummary(run_id="r", flow="f", outcome="done", message="all is well", started_at=NOW, finished_at=NOW)

    def connect(settings: Settings) -> tuple[PrefectServer, Settings]:
        return PrefectServer("nowhere"), settings

    monkeypatch.setattr(run, "run_flow", run_flow)
    monkeypatch.setattr(run, "connect", connect)
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-invented")
    return calls


def test_the_flows_are_asked_for_what_was_typed(
    tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("# mine\nhttps://youtu.be/abcdefghijk\n"))
    terms = ["--channel", "rapid", "--collection", "c", "--namespace", "n", "--library", "public", "--permanent"]
    money = ["--max-spend", "1.50", "--max-age", "0", "--fresh", "--json"]
    assert tagtrail("import", "urls", POST, "--file", "-", *terms, *money).status == 0
    assert tagtrail("import", "creators", CREATOR, "--posts", "7", *terms, *money).json["message"] == "all is well"
    common = {
        "channel": "rapid", "collection": "c", "namespace": "n", "library": "public", "permanent": True,
        "max_spend_usd": 1.5, "max_age_hours": 0.0, "reuse_hours": 6.0, "fresh": True,
    }  # fmt: skip
    assert asked == [
        ("flows.import_posts:import_posts", {"urls": [POST, "https://youtu.be/abcdefghijk"], **common}),
        ("flows.import_creators:import_creators", {"creators": [CREATOR], "posts_per_creator": 7, **common}),
    ]


def test_the_flows_take_these_parameters(tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]]) -> None:
    from flows.import_creators import import_creators
    from flows.import_posts import import_posts

    tagtrail("import", "urls", POST)
    tagtrail("import", "creators", CREATOR)
    for flow, (_, parameters) in zip((import_posts, import_creators), asked, strict=True):
        assert parameters.keys() <= inspect.signature(flow.fn).parameters.keys()


def test_a_dry_run_tells_the_cost_and_calls_nothing(
    tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]]
) -> None:
    out = tagtrail("import", "urls", POST, POST, "https://youtu.be/abcdefghijk", "--dry-run").out
    assert "2 posts by URL, in 2 imports." in out
    assert "In all: up to 0.04 USD" in out
    out = tagtrail("import", "creators", CREATOR, "--posts", "10", "--dry-run").out
    assert f"1 creator ({CREATOR}), 10 posts each: up to 10 posts." in out
    assert "stay empty for ever" in out
    told = tagtrail("import", "creators", CREATOR, "--posts", "10", "--dry-run", "--json").json
    assert (told["creators"], told["posts_per_creator"], told["total_usd"]) == ([CREATOR], 10, 0.2)
    assert asked == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["urls"], "at least one post URL"),
        (["urls", POST, CREATOR], "names no post"),
        (["urls", "--filter", POST], "Unknown option"),
        (["urls", "--file", "nothing.txt"], "cannot be read"),
        (["urls", "https://x.com/i/status/1900000000000000001"], "tagtrail enrich"),
        (["creators"], "at least one profile"),
        (["creators", POST], "no creator's profile"),
        (["creators", CREATOR, "--posts", "0"], "at least 1 post"),
        (["creators", CREATOR, "--posts", "10001"], "at most 10,000"),
        (["creators", CREATOR, "--library", "public"], "--permanent"),
        (["urls", POST, "--max-spend", "much"], "--max-spend"),
    ],
)
def test_what_cannot_be_imported_is_said_in_one_sentence(
    tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]], arguments: list[str], words: str
) -> None:
    called = tagtrail("import", *arguments)
    assert called.status == 2
    assert words in called.err
    assert called.err.count("\n") == 1
    assert asked == []
