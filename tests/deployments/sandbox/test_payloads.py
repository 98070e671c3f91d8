"""Somebody's own payloads, served from files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deployments.sandbox.addresses import number_of_code
from deployments.sandbox.payloads import BadPayload, load_payloads

CODE = "DABCDEFGHIj"
MEDIA = {"id": str(number_of_code(CODE)), "shortcode": CODE, "video_play_count": 7}
DATA = {"data": {"xdt_shortcode_media": MEDIA}, "status": "ok"}
ENVELOPE = {"code": "0000", "msg": "success", "data": DATA, "failed": False, "success": True}


def write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content, indent=1))


def test_a_whole_envelope_is_served_byte_by_byte_and_imported(start, tmp_path):
    write(tmp_path, f"instagram_{CODE}.json", ENVELOPE)
    api = start(limits=False, payloads=tmp_path)
    url = f"https://www.instagram.com/reels/{CODE}/"
    assert api.metadata(url).content == (tmp_path / f"instagram_{CODE}.json").read_bytes()
    assert api.metadata(url, "memories.ai").json() == ENVELOPE
    task_id = api.submit_to("scraper_url", {"video_urls": [url]}).json()["data"]["taskId"]
    api.server.advance(100)
    (item,) = api.poll(task_id).json()["data"]["videos"]
    assert item["video_url"] == f"https://www.instagram.com/p/{CODE}/"
    assert api.metadata("https://www.instagram.com/p/DABCDEFGHIk/").json()["data"] != DATA


@pytest.mark.parametrize(
    ("name", "content", "url"),
    [
        (f"instagram_{number_of_code(CODE)}.json", {"anything": 1}, f"https://www.instagram.com/p/{CODE}/"),
        ("tiktok_7300000000000000777.json", [], "https://www.tiktok.com/player/v1/7300000000000000777"),
        ("youtube_abcdefghij-.json", {"title": "x"}, "https://youtu.be/abcdefghij-"),
        ("x_1900000001.json", [{"odd": 1}], "https://x.com/i/status/1900000001"),
    ],
)  # fmt: skip
def test_data_alone_is_served_in_an_envelope(start, tmp_path, name, content, url):
    write(tmp_path, name, content)
    answer = start(limits=False, payloads=tmp_path).metadata(url).json()
    assert answer == {"code": "0000", "msg": "success", "data": content, "success": True, "failed": False}


def test_faults_befall_own_payloads_too(start, tmp_path):
    write(tmp_path, f"instagram_{CODE}.json", ENVELOPE)
    api = start("busy", payloads=tmp_path, limits=False)
    api.server.play("busy", every=1)
    answers = [api.metadata(f"https://www.instagram.com/p/{CODE}/").json()["code"] for _ in range(2)]
    assert answers == ["0409", "0000"]


def test_what_cannot_be_served(tmp_path):
    with pytest.raises(BadPayload, match="no folder"):
        load_payloads(tmp_path / "none")
    write(tmp_path, "mystery.json", {"a": 1})
    with pytest.raises(BadPayload, match=r"name it <platform>_<id-or-shortcode>\.json"):
        load_payloads(tmp_path)
    (tmp_path / "mystery.json").write_text("{")
    with pytest.raises(BadPayload, match="holds no JSON"):
        load_payloads(tmp_path)
