"""Callbacks of both generations, received by a real listener."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class Listener:
    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *words: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook/secret?x=1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def wait(self, count: int) -> list[dict[str, Any]]:
        until(lambda: len(self.bodies) >= count)
        time.sleep(0.05)
        assert len(self.bodies) == count
        return self.bodies

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def listener() -> Iterator[Listener]:
    one = Listener()
    yield one
    one.close()


def kind_of(body: dict[str, Any]) -> str:
    if "videoId" in body:
        return "video"
    return "new" if "message" in body else "old"


@pytest.mark.parametrize("field", ["callback", "callback_url"])
def test_the_new_generation_tells_of_the_task_and_of_each_video(start, listener, field):
    api = start(time_scale=2000, limits=False)
    task_id = api.submit("kites", 3, **{field: listener.url}).json()["data"]["taskId"]
    bodies = listener.wait(4)
    assert [kind_of(body) for body in bodies] == ["new", "video", "video", "video"]
    assert bodies[0] == {"message": "Video has been downloaded...", "taskId": task_id, "status": "SUCCEEDED"}
    numbers = {item["video_no"] for item in api.poll(task_id).json()["data"]["videos"]}
    assert {body["videoId"] for body in bodies[1:]} == numbers
    assert {body["status"] for body in bodies[1:]} == {"INDEXING_SUCCEEDED"}
    until(lambda: len(api.server.accounting()["callbacks"]) == 4)
    assert {entry["status"] for entry in api.server.accounting()["callbacks"]} == {204}


def test_the_old_generation(start, listener):
    api = start("callbacks-old", time_scale=2000)
    task_id = api.submit("kites", 3, callback=listener.url).json()["data"]["taskId"]
    assert listener.wait(1) == [{"taskId": task_id, "status": "SUCCEEDED"}]


def test_messy_callbacks_come_twice_and_in_the_wrong_order(start, listener):
    api = start("callbacks-messy", time_scale=2000)
    api.submit("kites", 2, callback=listener.url)
    kinds = [kind_of(body) for body in listener.wait(8)]
    assert kinds == ["video"] * 4 + ["new"] * 2 + ["old"] * 2


def test_a_failed_import_says_so(start, listener):
    api = start("callbacks-failed", time_scale=2000)
    task_id = api.submit("kites", 2, callback=listener.url).json()["data"]["taskId"]
    assert [body["status"] for body in listener.wait(2)] == ["FAILED", "FAILED"]
    assert api.poll(task_id).json()["data"]["videos"] == []


def test_an_import_that_never_fills_calls_nobody(start, listener):
    api = start("never-fills", time_scale=2000)
    api.submit("kites", 2, callback=listener.url)
    time.sleep(0.1)
    assert listener.bodies == []


@pytest.mark.parametrize("url", ["http://receiver.example/hook", "https://127.0.0.1/hook", "ftp://localhost/x"])
def test_nobody_else_is_called(start, caplog, url):
    api = start(time_scale=2000)
    assert api.submit("kites", 1, callback=url).json()["code"] == "0000"
    (entry,) = api.server.accounting()["callbacks"]
    assert "refused" in entry
    assert "no callback to host" in caplog.text


def test_a_listener_that_is_not_there_is_noted(start, listener, caplog):
    api = start("callbacks-old", time_scale=2000)
    api.submit("kites", 1, callback="http://127.0.0.1:1/hook")
    until(lambda: bool(api.server.accounting()["callbacks"]))
    assert api.server.accounting()["callbacks"][0]["status"] is None
    assert "did not arrive" in caplog.text


def test_waiting_callbacks_end_with_the_server(start, listener):
    api = start(time_scale=0.001)
    api.submit("kites", 1, callback=listener.url)
    api.server.stop()
    assert not api.server._thread.is_alive(), "it waits for some seconds at most, and no callback is due for hours"
    assert listener.bodies == []
