"""A platform that nobody knows yet, through the commands: imported by URL, measured, exported, reported, erased."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from blocks.posts.platforms.registry import PLATFORMS, register
from blocks.posts.platforms.tiktok import TIKTOK

pytestmark = pytest.mark.stack

POSTS = {f"7300000000000000{number}": f"https://threads.example/t/7300000000000000{number}/" for number in range(3)}


class Service(BaseHTTPRequestHandler):
    """The API, as far as this needs it: one import of the posts, and metadata of each."""

    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/scraper_url":
            self._answer({"taskId": "t-1"})
        elif self.path == "/v2/threads/post/metadata":
            self.asked.append(fields["video_url"])
            post_id = fields["video_url"].rpartition("/")[2]
            user = {"pk": "41", "username": "harbour.kiln"}
            self._answer(
                {"pk": post_id, "text": "clay #kiln", "taken_at": 1_762_000_000, "user": user}
                | {"like_count": 9, "reply_count": 0}
            )

    def do_GET(self) -> None:
        videos = [{"video_no": f"V{at}", "video_url": url, "status": "PARSE"} for at, url in POSTS.items()]
        self._answer({"videos": videos})

    def _answer(self, data: dict[str, Any]) -> None:
        body = json.dumps({"code": "0000", "msg": "success", "data": data, "success": True, "failed": False}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def environ(server_home: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A shell's variables, with the service behind them."""
    Service.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        base = f"http://127.0.0.1:{service.server_port}"
        yield os.environ | {
            "HOME": str(tmp_path / "user"),
            "TAGTRAIL_HOME": str(server_home),
            "TAGTRAIL_DATABASE_URL": f"sqlite:///{tmp_path / 'tagtrail.db'}",
            "MEMORIES_API_KEY": "sk-invented",
            "MEMORIES_V1_BASE_URL": f"{base}/v1",
            "MEMORIES_V2_BASE_URL": f"{base}/v2",
            "TAGTRAIL_IMPORTS_PER_MINUTE": "100",
            "TAGTRAIL_POLL_SECONDS": "0.1",
            "TAGTRAIL_IMPORT_QUIET_SECONDS": "1",
        }
        service.shutdown()
        thread.join()


def tagtrail(environ: dict[str, str], *arguments: str) -> str:
    """What a command with the new platform prints."""
    command = [sys.executable, "-m", "tests.deployments.cli.with_threads", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_platform_is_one_file(environ: dict[str, str], tmp_path: Path) -> None:
    done = json.loads(tagtrail(environ, "import", "urls", *POSTS.values(), "--json"))
    assert (done["outcome"], done["requested"], done["enriched"]) == ("done", 3, 3)
    assert done["platforms"] == {"threads": 3}
    assert sorted(Service.asked) == [f"https://www.threads.example/t/{post_id}" for post_id in POSTS]

    again = json.loads(tagtrail(environ, "enrich", *POSTS.values(), "--max-age", "0", "--json"))
    assert (again["outcome"], again["enriched"]) == ("done", 3)
    assert len(Service.asked) == 6

    exported = [json.loads(line) for line in exported_lines(environ)]
    assert {row["post_id"] for row in exported} == POSTS.keys()
    first = exported[0]
    assert (first["platform"], first["author_username"], first["caption"]) == ("threads", "harbour.kiln", "clay #kiln")
    assert (first["likes"], first["comments"], first["engagement_rate_by_plays"]) == (9, 0, None)
    assert first["hashtags"] == ["kiln"]

    page = tmp_path / "report.html"
    tagtrail(environ, "report", "--days", "0", "--output", str(page))
    assert "threads" in page.read_text(encoding="utf-8")

    gone = next(iter(POSTS.values()))
    tagtrail(environ, "purge", "--post", gone, "--yes")
    assert len(exported_lines(environ)) == 2
    tagtrail(environ, "purge", "--creator", "harbour.kiln", "--yes")
    assert exported_lines(environ) == []


def exported_lines(environ: dict[str, str]) -> list[str]:
    return tagtrail(environ, "export", "posts", "--platform", "threads", "--format", "jsonl").splitlines()


def test_a_name_a_host_and_a_shape_belong_to_one_platform() -> None:
    with pytest.raises(ValueError, match="another platform has tiktok"):
        register(TIKTOK)
    mine = replace(TIKTOK, name="clips", hosts=("clips.example",), other_hosts=())
    with pytest.raises(ValueError, match="of another platform are tiktok_item"):
        register(mine)
    assert "clips" not in PLATFORMS
