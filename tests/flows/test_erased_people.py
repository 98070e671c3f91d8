"""Runs that meet an erased creator, and what each policy for commenters leaves in the raw payloads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from blocks.database.purge import Target, purge
from blocks.database.store import export, raw_payloads
from deployments.sandbox.server import SandboxServer

CODES = ("DKr4Zt0sQ1x", "DKr4Zt0sQ2x", "DKr4Zt0sQ3x")


def url(code: str) -> str:
    return f"https://www.instagram.com/p/{code}/"


@pytest.fixture
def payloads(tmp_path: Path) -> Path:
    """Three posts by lamp.choir, each with a comment by a.moth."""
    folder = tmp_path / "payloads"
    folder.mkdir()
    for code in CODES:
        comment = {"node": {"id": f"c{code}", "text": "so bright", "owner": {"username": "a.moth"}}}
        media = {
            "__typename": "XDTGraphVideo",
            "shortcode": code,
            "is_video": True,
            "video_play_count": 12,
            "owner": {"id": "55500011", "username": "lamp.choir", "edge_followed_by": {"count": 12_345}},
            "edge_media_to_parent_comment": {"count": 1, "edges": [comment]},
            "taken_at_timestamp": 1_751_404_144,
        }
        body = {"code": "0000", "data": {"data": {"xdt_shortcode_media": media}, "status": "ok"}}
        (folder / f"instagram_{code}.json").write_text(json.dumps(body))
    return folder


async def test_policies_hold_in_raw_payloads_and_an_erased_creator_is_not_kept(
    weather: Any, payloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = {CODES[0]: ("keep", b"a.moth", b"so bright"), CODES[1]: ("drop",)}
    with SandboxServer(payloads=payloads) as sandbox:
        monkeypatch.setenv("MEMORIES_V2_BASE_URL", sandbox.v2_base_url)
        for code, (policy, *held) in policies.items():
            monkeypatch.setenv("TAGTRAIL_COMMENTS", policy)
            assert (await weather.enrich(url(code))).enriched == 1
            with weather.store() as store, store.connect() as conn:
                [post] = [row for row in export.rows(store, "posts") if row["shortcode"] == code]
                body = raw_payloads.load_raw(conn, post["raw_sha256"])
            assert [word for word in (b"a.moth", b"so bright") if word in body] == held
            assert post["comments"] == 1, "the count is the post's, whatever is kept of who commented"
        with weather.store() as store:
            assert [row["author"] for row in export.rows(store, "comments")] == ["a.moth"]
            erased = await purge(store, Target(creator="lamp.choir"))
            assert erased.erased["posts"] == 2

        unknown = await weather.enrich(url(CODES[2]))
        assert (unknown.outcome, unknown.requested, unknown.enriched) == ("done", 0, 0)
        assert any("erased on request" in note for note in unknown.notes)
        assert unknown.cost_usd == 0.01, "that it is theirs is known once it is bought"
        again = await weather.enrich(url(CODES[2]))
        assert (again.requested, again.cost_usd) == (0, 0)
    with weather.store() as store:
        assert all(list(export.rows(store, what)) == [] for what in ("posts", "comments", "creators", "snapshots"))
