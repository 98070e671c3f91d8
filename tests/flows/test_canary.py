"""A canary measures known posts every time, and tells when the form of their payloads has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox.server import SandboxServer
from flows.canary import canary
from flows.steps.upkeep.canary import SHAPES_CHANGED

CODE = "DKr4Zt0sQ1x"
URL = f"https://www.instagram.com/p/{CODE}/"

MEDIA = {
    "__typename": "XDTGraphVideo",
    "shortcode": CODE,
    "is_video": True,
    "video_play_count": 12,
    "owner": {"id": "55500011", "username": "lamp.choir", "edge_followed_by": {"count": 12_345}},
    "edge_media_to_caption": {"edges": [{"node": {"text": "a caption that nobody is to repeat"}}]},
    "edge_media_preview_like": {"count": 7},
    "taken_at_timestamp": 1_751_404_144,
}


class Events(list[dict[str, Any]]):
    def __call__(self, event: str, **told: Any) -> None:
        self.append({"event": event, **told})


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> Events:
    events = Events()
    monkeypatch.setattr("flows.steps.upkeep.canary.announce", events)
    return events


def serve(folder: Path, media: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    body = {"code": "0000", "data": {"data": {"xdt_shortcode_media": media}, "status": "ok"}}
    (folder / f"instagram_{CODE}.json").write_text(json.dumps(body))


async def sing(weather: Any, monkeypatch: pytest.MonkeyPatch, folder: Path, media: dict[str, Any]) -> Any:
    """One run of the canary against a service that answers with this payload; its summary, and the calls it made."""
    serve(folder, media)
    with SandboxServer(payloads=folder) as sandbox:
        monkeypatch.setenv("MEMORIES_V2_BASE_URL", sandbox.v2_base_url)
        summary = await weather._run(lambda: canary([URL], return_state=True))
        calls = sandbox.accounting()["metadata"]
    assert sum(n for channels in calls.values() for codes in channels.values() for n in codes.values()) == 1
    return summary


async def test_a_canary_without_posts_is_refused(weather: Any) -> None:
    summary = await weather._run(lambda: canary(return_state=True))
    assert (summary.outcome, summary.exit_status) == ("failed", 2)
    assert "three URLs of posts that stay public" in summary.message
    assert weather.asked() == 0


async def test_a_change_of_shape_is_told_once(
    weather: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, announced: Events
) -> None:
    folder = tmp_path / "payloads"
    first = await sing(weather, monkeypatch, folder, MEDIA)
    assert (first.outcome, first.enriched, announced) == ("done", 1, [])
    assert "1 payload compared: no shape has changed" in first.notes

    # Other values, and a list that is empty this time, are no change of form.
    same = MEDIA | {"video_play_count": 99, "edge_media_to_caption": {"edges": []}}
    again = await sing(weather, monkeypatch, folder, same)
    assert (again.enriched, again.fresh, announced) == (1, 0, []), "measured again, however young the metadata is"

    changed = {**MEDIA, "play_count_v2": 99}
    del changed["video_play_count"]
    summary = await sing(weather, monkeypatch, folder, changed)
    [event] = announced
    assert event["event"] == SHAPES_CHANGED
    assert event["resource_id"] == f"tagtrail.run.{summary.run_id}"
    [post] = event["payload"]["posts"]
    assert (post["shape_before"], post["shape_now"]) == ("instagram_graphql",) * 2
    assert post["keys_gone"] == ["data.xdt_shortcode_media.video_play_count"]
    assert post["keys_new"] == ["data.xdt_shortcode_media.play_count_v2"]
    assert "caption that" not in json.dumps(event["payload"])
    assert "lamp" not in json.dumps(event["payload"])
    assert any("video_play_count" in note for note in summary.notes)

    await sing(weather, monkeypatch, folder, changed)
    assert len(announced) == 1, "what was told is how it is now"

    odd = await sing(weather, monkeypatch, folder, {"quite": {"other": 1}, "things": 2})
    assert (odd.outcome, odd.failed) == ("attention", 1)
    [_, event] = announced
    [post] = event["payload"]["posts"]
    assert (post["shape_before"], post["shape_now"]) == ("instagram_graphql", None)
    assert "data.xdt_shortcode_media.quite" in post["keys_new"]
    again = await sing(weather, monkeypatch, folder, {"quite": {"other": 1}, "things": 2})
    assert (again.failed, len(announced)) == (1, 2)
