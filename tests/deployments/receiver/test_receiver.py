"""The receiver on a real port: what it takes, and what it refuses."""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from blocks.completion import Callback
from blocks.database.engine import Store
from blocks.database.store import imports as ledger
from blocks.database.store.import_polls import end_import
from deployments.receiver.inbox_writer import InboxWriter, Verdict
from deployments.receiver.limits import LINE_SECONDS, ThrottledLog

from .conftest import PATH, QUICK, SECRET, TAKEN, Server, World, until


def test_callbacks_become_rows_and_events_once_each_in_any_order(world: Any) -> None:
    mine = world.submitted("t1")
    bodies = [
        {"videoId": "VI1", "message": "Video indexing succeed", "taskId": "t1", "status": "INDEXING_SUCCEEDED"},
        {"taskId": "t1", "status": "SUCCEEDED"},
        {"message": "Video has been downloaded...", "taskId": "t1", "status": "SUCCEEDED"},
        {"taskId": "t1", "status": "FAILED"},
    ]
    for body in (*bodies, *reversed(bodies)):
        assert {world.post(body).status, world.post(body).status} <= TAKEN
    until(lambda: len(world.server.events) == 5)
    assert sorted(world.named()) == [
        "tagtrail.import.failed", "tagtrail.import.succeeded", *["tagtrail.import.unattended"] * 2,
        "tagtrail.video.indexed",
    ]  # fmt: skip
    for event in world.server.events:
        assert event["resource"] == {"prefect.resource.id": f"tagtrail.import.{mine}"}
        assert {one["prefect.resource.id"] for one in event["related"]} == {
            "tagtrail.collection.c", "tagtrail.hashtag.moss",
        }  # fmt: skip
        assert event["payload"]["import_id"] == mine
    until(lambda: all(row.emitted_at is not None for row in world.inbox()))
    assert sorted(event["id"] for event in world.told()) == sorted(row.event_id for row in world.inbox())
    assert len({event["id"] for event in world.server.events}) == 5
    assert len(world.inbox()) == 3


def test_a_message_that_repeats_our_address_is_stored_without_the_secret(world: Any) -> None:
    world.submitted("t1")
    said = f"could not reach http://127.0.0.1{PATH} ({SECRET}), 3 of 3 tries"
    assert world.post({"taskId": "t1", "status": "FAILED", "message": said}).status in TAKEN
    until(lambda: len(world.inbox()) == 1)
    [row] = world.inbox()
    assert row.message == "could not reach http://127.0.0.1/hooks/[callback] ([callback]), 3 of 3 tries"
    assert SECRET not in repr(tuple(row))


@pytest.mark.parametrize(
    ("path", "body", "method", "status"),
    [
        ("/hooks/wrong", {"taskId": "t1", "status": "SUCCEEDED"}, "POST", 404),
        (PATH[:-1], {"taskId": "t1", "status": "SUCCEEDED"}, "POST", 404),
        (PATH + "x", {"taskId": "t1", "status": "SUCCEEDED"}, "POST", 404),
        ("/hooks", {"taskId": "t1", "status": "SUCCEEDED"}, "POST", 404),
        ("/", b"", "GET", 404),
        (PATH, b"", "GET", 405),
        (PATH, b"{nonsense", "POST", 400),
        (PATH, b"\xff\xfe", "POST", 400),
        (PATH, {"videoNo": "VI1", "status": "PARSE"}, "POST", 400),
        (PATH, {"taskId": "of-nobody", "status": "SUCCEEDED"}, "POST", 404),
        (PATH, b'{"taskId": "t1", "status": "SUCCEEDED", "data": "' + b"x" * 20_000 + b'"}', "POST", 413),
    ],
)
def test_what_is_refused_leaves_no_row_and_no_event(
    world: Any, path: str, body: Any, method: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    world.submitted("t1")
    with caplog.at_level(logging.DEBUG):
        answer = world.post(body, path=path, method=method)
        while answer.status == 202:
            answer = world.post(body, path=path, method=method)
    assert answer.status == status
    assert world.inbox() == []
    assert world.server.events == []
    assert len(world.lines) == 1
    assert world.lines[0].startswith("refused: ")
    for told in (answer.body, answer.head, *world.lines, caplog.text):
        assert SECRET not in told


def test_too_large_is_refused_unread_and_by_what_comes_where_no_length_is_said(world: Any) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n".encode()
    assert world.send(head + b"Content-Length: 99999999\r\n\r\n").status == 413
    chunks = b"".join(b"1000\r\n" + b"x" * 0x1000 + b"\r\n" for _ in range(6))
    assert world.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n").status == 413
    assert world.send(b"\x16\x03\x01\x00\xff" * 20 + b"\r\n\r\n").status == 400


@pytest.mark.parametrize("where", ["a header", "the query"])
@pytest.mark.parametrize(("size", "answer"), [(15_000, 404), (17_000, 431), (100_000, 431)])
def test_a_large_head_is_refused_also_where_it_comes_at_once(size: int, answer: int, where: str, world: Any) -> None:
    body = b'{"taskId": "nobodys", "status": "SUCCEEDED"}'
    query, header = ("", f"X-Y: {'y' * size}\r\n") if where == "a header" else (f"?{'y' * size}", "")
    head = f"POST {PATH}{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}Content-Length: {len(body)}"
    said = world.send(f"{head}\r\n\r\n".encode() + body)
    while said.status == 202:
        said = world.send(f"{head}\r\n\r\n".encode() + body)
    assert said.status == answer


def test_a_packed_body_is_not_unpacked(world: Any) -> None:
    zipped = gzip.compress(b'{"taskId": "t1", "status": "SUCCEEDED"}')
    world.submitted("t1")
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Encoding: gzip\r\n"
    assert world.send(f"{head}Content-Length: {len(zipped)}\r\n\r\n".encode() + zipped).status == 400


def test_a_body_that_does_not_come_is_not_waited_for(worlds: Any) -> None:
    world = worlds(replace(QUICK, body_seconds=0.05))
    started = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n"
    assert world.send(f"{started}Content-Length: 9\r\n\r\n{{".encode()).status == 408


def test_the_oldest_of_too_many_connections_gives_way(worlds: Any) -> None:
    world = worlds(replace(QUICK, max_connections=1))
    world.submitted("t1")
    with ThreadPoolExecutor(1) as threads:
        idle = threads.submit(world.send, b"POST ")
        until(lambda: bool(world.receiver._server.server_state.connections))
        assert world.post({"taskId": "t1", "status": "SUCCEEDED"}).status in TAKEN
        assert idle.result(30).status == 0, "closed without an answer"


def test_health_says_nothing_of_the_rest(world: Any) -> None:
    answer = world.post(b"", path="/health", method="GET")
    assert (answer.status, answer.body) == (200, '{"status":"ok"}')
    assert world.lines == []


def test_a_callback_that_is_quicker_than_its_import_is_taken_in_once_that_is_known(world: Any) -> None:
    body = {"taskId": "early", "status": "SUCCEEDED"}
    until(lambda: world.post(body).status == 404)
    assert world.inbox() == []
    mine = world.submitted("early")
    until(lambda: bool(world.told()))
    assert [row.import_id for row in world.inbox()] == [mine]
    assert world.post(body).status in TAKEN
    assert len(world.told()) == 1


def test_unknown_tasks_are_not_kept_without_end(worlds: Any) -> None:
    world = worlds(replace(QUICK, max_unknown=2))
    for number in range(4):
        until(lambda number=number: world.post({"taskId": f"u{number}", "status": "SUCCEEDED"}).status == 404)
    known = {world.submitted(f"u{number}"): number for number in range(4)}
    until(lambda: len(world.told()) == 2)
    assert sorted(known[event["payload"]["import_id"]] for event in world.told()) == [2, 3]


async def test_an_unknown_task_is_forgotten_after_ten_minutes(sqlite_store: Store) -> None:
    now = [0.0]
    world = World(sqlite_store, Server(), receiver=None)  # type: ignore[arg-type]
    log = ThrottledLog(lambda _: None)
    writer = InboxWriter(sqlite_store, log, on_stored=lambda: None, limits=QUICK, clock=lambda: now[0])
    running = asyncio.create_task(writer.run())

    async def is_put(task_id: str, verdict: Verdict) -> None:
        async with asyncio.timeout(60):
            while await writer.put(Callback(f"of-{task_id}", task_id, "SUCCEEDED")) not in (verdict, Verdict.KNOWN):
                await asyncio.sleep(0.01)

    await is_put("late", Verdict.UNKNOWN)
    now[0] = QUICK.unknown_seconds
    # Before each batch the writer looks after what is unknown.
    for known in ("t1", "t2"):
        world.submitted(known)
        await is_put(known, Verdict.STORED)
        if known == "t1":
            world.submitted("late")
    assert sorted(row.task_id for row in world.inbox()) == ["t1", "t2"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_a_prefect_server_that_is_away_delays_no_answer_and_is_told_later(world: Any) -> None:
    world.server.away = True
    world.submitted("t1")
    assert world.post({"taskId": "t1", "status": "SUCCEEDED"}).status in TAKEN
    until(lambda: any("took no events" in line for line in world.lines))
    assert [row.emitted_at for row in world.inbox()] == [None]
    world.server.away = False
    until(lambda: bool(world.server.events))
    until(lambda: world.inbox()[0].emitted_at is not None)
    time.sleep(0.1)
    assert world.named() == ["tagtrail.import.succeeded", "tagtrail.import.unattended"]


def test_an_import_that_a_living_run_follows_is_not_told_as_unattended(world: Any) -> None:
    followed, ended = world.submitted("t1"), world.submitted("t2", requested=0)
    with world.store.begin() as conn:
        assert ledger.lease_import(conn, followed, owner="a living run")
        assert end_import(conn, ended, state="empty", post_micros=0, run_id="r", now=datetime.now(UTC))
    for task in ("t1", "t2"):
        assert world.post({"taskId": task, "status": "SUCCEEDED"}).status in TAKEN
    until(lambda: len(world.server.events) == 2)
    assert world.named() == ["tagtrail.import.succeeded"] * 2


def test_a_locked_database_delays_no_answer_and_nothing_is_lost(world: Any) -> None:
    tasks = [f"t{number}" for number in range(5)]
    for task in tasks:
        world.submitted(task)
    with world.store.engine.connect() as conn, conn.begin():
        conn.exec_driver_sql("UPDATE meta SET value = value")
        answers = [world.post({"taskId": task, "status": "SUCCEEDED"}) for task in tasks]
        assert {answer.status for answer in answers} == {202}
    until(lambda: len(world.inbox()) == 5)
    until(lambda: len(world.told()) == 5)


def test_too_many_that_wait_for_the_database_are_refused(worlds: Any) -> None:
    world = worlds(replace(QUICK, max_waiting=1))
    world.submitted("t1")
    world.submitted("t2")
    with world.store.engine.connect() as conn, conn.begin():
        conn.exec_driver_sql("UPDATE meta SET value = value")
        assert world.post({"taskId": "t1", "status": "SUCCEEDED"}).status == 202
        assert world.post({"taskId": "t2", "status": "SUCCEEDED"}).status == 503
    until(lambda: len(world.inbox()) == 1)


def test_fifty_at_once_lose_none(world: Any) -> None:
    mine = {world.submitted(f"t{number}") for number in range(50)}
    with ThreadPoolExecutor(50) as threads:
        bodies = [{"taskId": f"t{number}", "status": "SUCCEEDED"} for number in range(50)]
        answers = list(threads.map(world.post, bodies))
    assert {answer.status for answer in answers} <= TAKEN
    until(lambda: len(world.told()) == 50)
    assert {event["payload"]["import_id"] for event in world.told()} == mine
    assert len(world.inbox()) == 50


def test_one_line_for_each_reason_in_ten_seconds() -> None:
    now, lines = [0.0], []
    log = ThrottledLog(lines.append, clock=lambda: now[0])
    for _ in range(1000):
        log.note("a")
    log.note("b", "x")
    log.flush()
    assert lines == ["a", "b: x"]
    now[0] = LINE_SECONDS
    log.flush()
    assert lines[2:] == ["a (999 more since the last line)"]
    log.note("a")
    log.close()
    assert lines[3:] == ["a (1 more since the last line)"]
