"""The live look on the sandbox: every open point comes out either way, and nothing is bought twice or over the cap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.database.engine import Store
from blocks.database.store import accounts, export, imports
from blocks.database.store.filters import Filters
from blocks.errors import UsageError
from blocks.settings import get_settings
from deployments.doctor.live import Look, Wanted, look
from deployments.doctor.points import Evidence, judge
from deployments.doctor.service import Account
from deployments.sandbox.server import SandboxServer

pytestmark = pytest.mark.integration

URLS = (
    "https://www.instagram.com/p/DTagtrail01/",
    "https://www.youtube.com/watch?v=abcdefghijk",
    "https://x.com/i/status/1900000000000000001",
)
QUICK = {
    "TAGTRAIL_IMPORTS_PER_MINUTE": "6000",
    "TAGTRAIL_STATUS_PER_SECOND": "200",
    "TAGTRAIL_METADATA_PER_SECOND": "500",
    "TAGTRAIL_POLL_SECONDS": "0.05",
    "TAGTRAIL_IMPORT_QUIET_SECONDS": "3",
}
CALLBACK = "http://127.0.0.1:9/hooks/invented"


class Eye:
    """Looks at one sandbox, each time as an account of its own unless told otherwise."""

    def __init__(self, sandbox: SandboxServer, store: Store) -> None:
        self.sandbox, self.store = sandbox, store
        self.accounts = 0

    async def look(
        self,
        scenario: str = "default",
        *,
        urls: tuple[str, ...] = URLS,
        cap: float = 1.0,
        key: str = "",
        callback: str | None = None,
        deadline_seconds: float = 60,
        **changes: Any,
    ) -> Look:
        self.accounts += 1
        self.sandbox.play(scenario, **changes)
        secret = SecretStr(key or f"sk-invented-{self.accounts}")
        account = Account("tests", secret, self.sandbox.v1_base_url, self.sandbox.v2_base_url, 5, callback)
        settings = get_settings(tagtrail_import_deadline_seconds=deadline_seconds)
        return await look(settings, self.store, account, Wanted("travel", urls, cap), lambda _: None)


@pytest.fixture
def eye(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Eye]:
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    with SandboxServer(time_scale=40, limits=False) as sandbox:
        yield Eye(sandbox, sqlite_store)


def verdicts(seen: Look) -> dict[str, str]:
    return {one.name: one.verdict for one in seen.findings}


@pytest.mark.stack
async def test_every_open_point_comes_out_either_way(eye: Eye) -> None:
    good = verdicts(await eye.look(platforms=["tiktok"], parse_seconds=1e6, callback=CALLBACK))
    other = verdicts(await eye.look("otherwise", parse_seconds=120))
    strange = verdicts(await eye.look("unknown-shape", every=1, id_list="strings"))
    gone = verdicts(await eye.look("null-media", every=1, url_missing_every=1))
    lost = verdicts(await eye.look("not-found", every=1, callback=CALLBACK, callbacks_refused=True))
    player = verdicts(await eye.look("tiktok-handle-only", code_form="http", empty_is_refused=True))
    nothing = verdicts(await eye.look("never-fills", urls=(), cap=0.015, deadline_seconds=1))

    left_open = {"v1_refusals", "v2_refusals", "hashtag_tiktok_only", "gone", "placeholder_metadata"}
    assert {name for name, verdict in good.items() if verdict != "confirmed"} == left_open
    contradicted = {
        "v1_success_code", "v2_success_code", "flags", "v2_refusals", "no_such_task", "task_id", "item_casing",
        "item_texts", "tiktok_player", "item_url", "url_before_ready", "count_per_hashtag", "hashtag_tiktok_only",
        "metadata_instagram_apify", "metadata_tiktok_apify", "metadata_youtube_apify", "metadata_x_apify",
        "instagram_p_metadata",
    }  # fmt: skip
    assert {name for name, verdict in other.items() if verdict == "contradicted"} == contradicted
    assert (other["v1_refusals"], other["v2_refusals"]) == ("confirmed", "contradicted")
    assert strange["list_of_objects"] == "contradicted"
    assert (gone["gone"], gone["item_url"]) == ("confirmed", "contradicted")
    assert (lost["gone"], lost["callback"]) == ("contradicted", "contradicted")
    assert player["player_metadata"] == "contradicted"
    assert (player["v1_refusals"], player["v2_refusals"]) == ("contradicted", "confirmed")
    told = {"v1_success_code", "flags", "no_such_task", "task_id"}
    assert {name for name, verdict in nothing.items() if verdict != "unknown"} == told
    either = [good, other, strange, gone, lost, player]
    never = {name for name in good if all(one[name] != "contradicted" for one in either)}
    # A wrong namespace looks like an empty import; the two others are met in the next tests.
    assert never == {"namespace", "one_key", "placeholder_metadata"}
    # Only many posts confirm that a hashtag finds TikTok alone.
    many = {one.name: one.verdict for one in judge(Evidence(hashtag_platforms={"tiktok": 20, "instagram": 0}))}
    assert {name for name, verdict in many.items() if verdict != "unknown"} == {"hashtag_tiktok_only"}


async def test_the_placeholder_is_judged_where_no_handle_is_known(eye: Eye) -> None:
    refused = verdicts(await eye.look("tiktok-author-only", urls=(), platforms=["tiktok"]))
    served = verdicts(await eye.look("tiktok-handle-only", urls=(), platforms=["tiktok"]))
    names = ("player_metadata", "placeholder_metadata")
    assert [refused[name] for name in names] == ["contradicted", "contradicted"]
    assert [served[name] for name in names] == ["contradicted", "confirmed"]


async def test_a_key_that_the_second_version_refuses_is_found_and_halts_the_look(eye: Eye) -> None:
    seen = await eye.look("key-for-imports")
    assert verdicts(seen)["one_key"] == "contradicted"
    assert seen.summary.outcome == "halted"


async def test_a_second_look_buys_no_second_import_and_its_findings_are_kept(eye: Eye) -> None:
    first = await eye.look(key="sk-one")
    assert first.summary.outcome == "done"
    assert round(first.summary.cost_usd, 6) == 0.13
    with eye.store.connect() as conn:
        account = imports.find_imports(conn, "")[0].account
        known = accounts.findings(conn, account)
    assert known["item_casing"]["verdict"] == "confirmed"
    assert "gone" not in known, "what is unknown is not kept"
    posts = list(export.rows(eye.store, "posts", Filters()))
    assert {row["status"] for row in posts} == {"enriched"}
    assert len(posts) == 4

    again = await eye.look("ids-as-strings", key="sk-one", urls=())
    assert eye.sandbox.accounting()["accepted"] == {"hashtag:travel": 1}
    assert again.summary.cost_usd == 0, "no second import, and no metadata that is young"
    assert verdicts(again) | {"list_of_objects": "confirmed"} == verdicts(first)
    assert verdicts(again)["list_of_objects"] == "contradicted"
    with eye.store.connect() as conn:
        assert accounts.findings(conn, account)["task_id"] == known["task_id"], "an earlier finding stays"
    assert len(list(export.rows(eye.store, "posts", Filters()))) == 4


async def test_the_cap_ends_a_look_before_it_is_overstepped(eye: Eye) -> None:
    seen = await eye.look(cap=0.045)
    assert seen.summary.cost_usd == 0.04
    asked = eye.sandbox.accounting()["metadata"]
    assert sum(sum(codes.values()) for channels in asked.values() for codes in channels.values()) == 3
    assert any("the cap of this look" in note for note in seen.summary.notes)
    assert verdicts(seen)["metadata_instagram_rapid"] == "unknown"


async def test_a_submission_in_doubt_is_not_sent_again_by_the_next_look(eye: Eye) -> None:
    await eye.look("submit-dropped", key="sk-one", urls=())
    again = await eye.look("submit-dropped", key="sk-one", urls=())
    assert eye.sandbox.accounting()["accepted"] == {"hashtag:travel": 1}
    assert [one.state for one in again.summary.imports] == ["ambiguous"]
    assert again.summary.cost_usd == 0


async def test_wrong_addresses_are_refused_before_anything_is_asked(eye: Eye) -> None:
    with pytest.raises(UsageError, match="names no post"):
        await eye.look(urls=("https://www.instagram.com/",))
    assert eye.sandbox.accounting()["requests"] <= 2
