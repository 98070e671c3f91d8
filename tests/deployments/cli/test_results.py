"""What a person, or a program, reads at the end of a run."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from blocks.database.tables import Post
from blocks.dedup_keys import import_shown
from deployments.cli.posts_table import UNKNOWN, Metric, posts_table
from deployments.cli.results import next_steps, result_lines, tell_result
from deployments.cli.terminal import results, unbroken
from flows.steps.run.summary import TODAY, ImportSummary, RunSummary

STARTED = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def summary(**changes: object) -> RunSummary:
    an_import = ImportSummary(
        import_id="i1", task_id="t1", kind="hashtag", hashtag="linen", how="submitted", state="complete",
        requested=25, seen=25, new=20, known=5, planned_at=STARTED,
    )  # fmt: skip
    known = {
        "run_id": "r1",
        "flow": "track-hashtags",
        "outcome": "attention",
        "message": "25 posts: 22 enriched, 1 failed, 2 gone; about 0.45 USD",
        "collection": "default",
        "requested": 25,
        "enriched": 22,
        "failed": 1,
        "gone": 2,
        "fresh": 4,
        "new_enriched": 18,
        "imports": [an_import],
        "platforms": {"tiktok": 15, "instagram": 10},
        "calls": {"import": 20, "metadata": 25},
        "failures": {"UnknownShape": 1},
        "cost_usd": 0.45,
        "usd_per_1000_new": 25.0,
        "started_at": STARTED,
        "finished_at": STARTED.replace(second=42),
    }
    return RunSummary.model_validate(known | changes)


def post(**changes: object) -> Post:
    known = {
        "platform": "instagram",
        "post_id": "3700000000000000001",
        "shortcode": "DNb_x1",
        "url": "https://www.instagram.com/p/DNb_x1/",
        "author_username": "loom.studio",
        "posted_at": datetime(2026, 11, 19, 8, tzinfo=UTC),
        "caption": "Linen\nand [b]light[/b]",
        "plays": 3_001_157_112,
        "views": 0,
        "likes": None,
        "likes_hidden": True,
        "comments": 487,
        "shares": None,
    }
    return Post(**known | changes)


def test_the_result_for_people(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    tell_result(summary(), [post()], where=["Database: /home/x/tagtrail.db"], json=False)
    out, err = capsys.readouterr()
    assert err == ""
    (row,) = [line for line in out.splitlines() if "@loom.studio" in line]
    # A real 0 is a 0, an unknown number a dash, hidden likes are called so; markup of others stays text.
    assert row.split() == [
        "instagram", "DNb_x1", "2026-11-19", "3,001,157,112", "0", "hidden", "487", "–", "@loom.studio",
        "Linen", "and", "[b]light[/b]",
    ]  # fmt: skip
    assert "25 posts: 22 enriched, 1 failed, 2 gone; about 0.45 USD" in out
    assert "Posts: 25 = 22 enriched + 1 failed + 2 gone + 0 pending" in out
    assert "(4 of the enriched were measured recently and not bought again)" in out
    assert "Platforms found: instagram 10, tiktok 15." in out
    assert "Import #linen: complete, 25 of 25 posts seen: 20 new, 5 known." in out
    assert "a sample, not a census" in out
    assert TODAY in " ".join(out.split())
    assert "25.00 USD per 1,000 new posts" in out
    assert "Failures: UnknownShape 1." in out
    assert "Database: /home/x/tagtrail.db" in out


@pytest.mark.parametrize("width", [80, 160])
def test_numbers_stand_before_all_that_terminals_draw_in_several_widths(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = [
        post(author_username=name, caption=name) for name in ("कपड़ा.दुनिया", "ผ้าไหม", "布地東京", "👩‍👩‍👧‍👦", "plain")
    ]
    Console(width=width, color_system=None).print(posts_table(wide, width=width))
    heading, _, *rows = capsys.readouterr().out.splitlines()
    numbers = heading.index("author")
    assert "comments" in heading[:numbers]
    assert all(row[:numbers].replace(UNKNOWN, "-").isascii() and row[numbers] == "@" for row in rows)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 200])
@pytest.mark.parametrize("by", ["plays", "shares", "saves", "author_followers"])
def test_every_number_of_a_table_is_whole(
    width: int, by: Metric, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    numbers: dict[str, Any] = {
        "plays": 1_234_567, "views": 2_345_678, "likes": 35_170, "likes_hidden": False, "comments": 4_567,
        "shares": 56_789, "saves": 678_901, "author_followers": 78_901_234,
    }  # fmt: skip
    long = post(author_username="a" * 30, caption="x" * 80, post_id="7" * 19, shortcode=None, **numbers)
    results().print(posts_table([long], width=width, by=by))
    out = capsys.readouterr().out
    heading, _, row = (line.split() for line in out.splitlines() if line.strip())
    assert {"post", by} <= set(heading)
    assert len(heading) == len(row)
    shown = dict(zip(heading, row, strict=True))
    whole = {name: f"{value:,}" for name, value in numbers.items() if name in shown}
    whole |= {"post": "7" * 19} | ({"posted": "2026-11-19"} if "posted" in shown else {})
    assert {name: shown[name] for name in whole} == whole
    assert "likes" in shown
    assert max(map(cell_len, out.splitlines())) <= width


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_a_number_is_never_cut(width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    long = post(author_username="a" * 40, post_id="7" * 19, shortcode=None, likes=2_147_483_648, likes_hidden=False)
    tell_result(summary(), [long], where=[], json=False)
    out = capsys.readouterr().out
    assert "3,001,157,112" in out
    assert "2,147,483,648" in out
    assert max(map(len, out.splitlines())) <= width


def test_posts_by_url_are_no_sample_of_a_hashtag(capsys: pytest.CaptureFixture[str]) -> None:
    tell_result(summary(imports=[], usd_per_1000_new=None), [], where=[], json=False)
    out = capsys.readouterr().out
    assert "census" not in out
    assert "per 1,000" not in out


def test_the_result_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    tell_result(summary(), [post()], where=["Database: /home/x"], json=True)
    out, err = capsys.readouterr()
    read = json.loads(out)
    assert err == ""
    assert (read["exit_status"], read["seconds"], read["outcome"]) == (3, 42.0, "attention")
    assert read["imports"][0]["planned_at"] == "2026-11-20T12:00:00Z"


def lines_of(**changes: object) -> list[str]:
    known = summary()
    return result_lines(summary(imports=[known.imports[0].model_copy(update=changes)]))


def test_a_re_used_import_brings_nothing_new() -> None:
    assert "Import #linen: re-used; 25 posts." in lines_of(how="reused", new=0, known=25)
    assert "Import #linen: re-used; 1 post." in lines_of(how="reused", seen=1, new=0, known=1)


def test_a_re_used_import_that_was_empty_may_have_brought_posts() -> None:
    told = "Import #linen: complete, re-used, 25 of 25 posts seen: 20 new, 5 known."
    assert told in lines_of(how="reused")


def test_an_import_in_doubt_says_how_to_decide_it() -> None:
    told = "\n".join(lines_of(state="ambiguous", how="attached", seen=0, new=0, known=0))
    assert "tagtrail resolve i1 --resubmit|--attach TASK_ID|--drop" in told


def test_imports_of_urls_and_of_creators_have_names(capsys: pytest.CaptureFixture[str]) -> None:
    one = summary().imports[0].model_copy(update={"hashtag": None})
    urls = one.model_copy(update={"kind": "urls", "import_id": "11112222-x", "requested": 12})
    creator = one.model_copy(update={"kind": "creator", "import_id": "33334444-x"})
    told = summary(imports=[urls, creator])
    tell_result(told, [], where=[], json=False, names={"33334444-x": "creator @loom.works"})
    out = capsys.readouterr().out
    assert "Import 12 URLs (11112222): complete" in out
    assert "Import creator @loom.works: complete" in out
    # Without a terminal of the user's own nobody is named.
    assert creator.name == "creator 33334444"


def test_a_request_is_shown_by_what_was_asked_for() -> None:
    shown = [
        import_shown("creator", None, {"creator": "https://www.tiktok.com/@loom.works"}, "33334444-x"),
        import_shown(
            "creator", None, {"creator": "https://www.youtube.com/channel/UC0123456789012345678901"}, "3333-x"
        ),
        import_shown("creator", None, None, "33334444-x"),
        import_shown("urls", None, {"urls": ["a"]}, "11112222-x"),
        import_shown("hashtag", "linen", {"hashtag": "Linen"}, "1"),
    ]
    assert shown[0] == "creator @loom.works"
    assert shown[2:] == ["creator 33334444", "1 URL (11112222)", "#linen"]


def an_import(state: str) -> ImportSummary:
    return summary().imports[0].model_copy(update={"state": state, "seen": 0, "new": 0, "known": 0})


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"failed": 0}, "tagtrail export posts --output posts.csv · tagtrail report · tagtrail status"),
        ({}, "tagtrail export failures · tagtrail retry · tagtrail status"),
        (
            {"outcome": "halted", "halted_because": "no credits", "failed": 0, "pending": 3},
            "the same command, once what ended it is mended · tagtrail export posts --output posts.csv · "
            "tagtrail report · tagtrail status",
        ),
        (
            {"imports": [an_import("ambiguous")], "failed": 0, "enriched": 0, "requested": 0},
            "tagtrail resolve i1 … · tagtrail status",
        ),
        (
            {"imports": [an_import("empty")], "failed": 0, "enriched": 0, "requested": 0},
            "the same command in an hour, which looks at an empty import again, or another hashtag · tagtrail status",
        ),
        (
            {"imports": [], "failed": 0, "enriched": 0, "requested": 0},
            "another hashtag, or posts by URL (tagtrail enrich URL…), for there is nothing to export · tagtrail status",
        ),
        (
            {"imports": [an_import("collecting")], "failed": 0, "enriched": 0, "requested": 0},
            "the same command, which continues · tagtrail status",
        ),
        ({"failed": 0, "enriched": 0, "requested": 1, "gone": 1, "imports": []}, "tagtrail status"),
    ],
)
def test_what_is_next_is_what_there_is_to_do(changes: dict[str, Any], steps: str) -> None:
    assert next_steps(summary(**changes)) == steps


def test_an_empty_import_says_what_that_means() -> None:
    told = "\n".join(lines_of(state="empty", seen=0, new=0, known=0))
    assert "Import #linen: empty, nothing was seen by the deadline, which is not to say that nothing exists" in told
    assert "--fresh" in told


def test_a_line_breaks_between_words_only() -> None:
    path = "/somewhere/" + "x" * 90
    text = f"Import #lvmh: complete, 10 of 10 posts seen; tagtrail resolve ID --resubmit|--attach TASK_ID {path} end"
    lines = unbroken(text, 40).split("\n")
    assert " ".join(lines) == text
    assert [line for line in lines if len(line) > 40] == [path], "a word that is too long has a line of its own"
    assert unbroken("\n$ tagtrail run\n  indented", 80) == "\n$ tagtrail run\n  indented"
