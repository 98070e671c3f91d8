"""Every fault strikes a submission, a poll and a metadata call; then all that they left behind is searched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from blocks.posts.identity import parse_post_url
from deployments.sandbox.faults import KINDS
from flows.steps.enrichment import circuit_breaker

pytestmark = pytest.mark.stack

CONTROL: Final = "q7zk2control"
HALTING: Final = ("account", "credits", "key", "permission")
PASSING: Final = [kind for kind in KINDS if kind not in HALTING]
ONCE: Final = ("limit_text", "limit_http", "busy_text", "busy_http")
"""They slow all of a run down: each strikes once."""

# One of each class of errors, and of each of their texts; `test_held_secrets` has all faults served all calls.
AT_SUBMISSION: Final = ("bad", "not_found", "duplicate", "limit_http", "busy_text", "network", "not_json", "reset")
AT_POLLS: Final = ("bad", "not_found", "limit_text", "not_json", "html_500")

EXPORTS: Final = ("posts", "snapshots", "creators", "comments", "imports", "failures")


def url_of(place: int) -> str:
    return f"https://www.instagram.com/p/CxYz012ab{chr(ord('A') + place % 26)}{place // 26}/"


def key_of(url: str) -> str:
    return f"instagram:{parse_post_url(url).post_id}"


def test_in_every_weather_the_secrets_and_peoples_words_stay_where_they_belong(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags, urls = [], []
    for call, kinds in (("submit", AT_SUBMISSION), ("status", AT_POLLS)):
        for kind in kinds:
            tags.append(f"{CONTROL}_{call}_{kind}")
            world.faults[call, tags[-1]] = (kind, 1)
    for place, kind in enumerate(PASSING):
        urls.append(url_of(place))
        world.faults["metadata", key_of(urls[-1])] = (kind, 1 if kind in ONCE else None)
    # Each fault is to be met: on a slow machine so many fail in a row that their channel would be sent to rest.
    monkeypatch.setattr(circuit_breaker, "MAX_FAILURES", 1000)
    monkeypatch.setattr(circuit_breaker, "MAX_FAILURES_OF_KNOWN", 1000)
    planned = {f"{call} {kind}" for (call, _), (kind, _) in world.faults.items()}
    with world.everything_logged(monkeypatch):
        # Two runs: three submissions in a row whose outcome is unknown would end one, in whatever order they come.
        world.call("run", *tags[::2], "--posts", "1", "--verbose")
        world.call("run", *tags[1::2], "--posts", "1", "--verbose")
        world.call("enrich", "https://www.instagram.com/p/CxYz012abcD/", *urls, "--verbose", "--channel", "apify")
        assert set(world.struck) == planned, world.err
        for kind in HALTING:
            call = "submit" if kind in ("credits", "account") else "metadata"
            url = url_of(len(urls) + HALTING.index(kind))
            world.faults["submit", f"{CONTROL}_{kind}"] = (kind, None)
            world.faults["metadata", key_of(url)] = (kind, None)
            asked = ("run", f"{CONTROL}_{kind}", "--posts", "1") if call == "submit" else ("enrich", url)
            assert world.call(*asked, "--verbose") == 4
            assert f"{call} {kind}" in world.struck
        world.call("retry", "--error", "BadParameters", "--max-spend", "0.02")
        for what in EXPORTS:
            world.call("export", what)
            for ending in ("jsonl", "parquet", "xlsx"):
                assert world.call("export", what, "--output", str(tmp_path / f"{what}.{ending}")) == 0
        for arguments in (
            ("status",), ("status", "--json"), ("top",), ("db", "upgrade"), ("resolve", "abcdef", "--drop"),
            ("run", "two words"), ("run", "lamps", "--no-such-option", "--verbose"), ("reparse", "--dry-run"),
            ("reparse",), ("refresh", "--dry-run"), ("report", "--output", str(tmp_path / "report.html")), ("doctor",),
            ("purge", "--older-than", "0d", "--dry-run"), ("purge", "--older-than", "1d"),
        ):  # fmt: skip
            world.call(*arguments)
        world.call("run", f"{CONTROL}_last", "--posts", "2", "--json")
    prefect = world.told_by_prefect(json.loads(world.last)["run_id"])
    assert world.statuses == {0, 1, 2, 3, 4}

    # The search finds what is there.
    rows = world.rows()
    assert CONTROL in world.out
    assert CONTROL in world.files()
    assert CONTROL in rows["runs"]
    assert "/serve/api/v1/scraper_tag" in (logged := world.logged())
    assert "Finished in state" in logged
    assert all(CONTROL in prefect[page] for page in ("events", "artifacts", "flow_runs"))
    assert "tagtrail://" in prefect["events"]
    assert len(world.words_found("".join(rows.values()))) == 3
    assert "[key]" in rows["raw"]

    world.nothing_leaked(prefect)
    dictionaries = list(tmp_path.glob("*.dictionary.json"))
    assert len(dictionaries) == 3 * len(EXPORTS)
    for path in dictionaries:
        assert world.words_found(path.read_text()) == []
