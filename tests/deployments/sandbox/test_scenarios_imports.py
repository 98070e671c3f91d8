"""Scenarios of what imports hold, how they are written and when they fill, over real sockets."""

from __future__ import annotations

import pytest

OK = (200, "0000")


def of(*names: str) -> pytest.MarkDecorator:
    """The test runs once under each of these scenarios."""
    return pytest.mark.parametrize("name", names, indirect=True)


@of("default", "today", "three-platforms", "few-posts", "shared-posts")
def test_what_a_hashtag_has(api, name):
    urls = api.urls(30)
    hosts = {url.split("/")[2] for url in urls}
    expected = {"www.tiktok.com", "www.instagram.com", "www.youtube.com"}
    if name != "three-platforms":
        expected.discard("www.youtube.com")
    if name == "today":
        expected.discard("www.instagram.com")
    assert hosts == expected
    assert len(urls) == (7 if name == "few-posts" else 30)
    common = set(urls) & set(api.urls(30, "teapots"))
    assert len(common) == (6 if name == "shared-posts" else 0)


@of("ids-only", "ids-as-strings")
def test_items_that_are_bare_ids(api, name):
    task_id = api.submit("kites", 3).json()["data"]["taskId"]
    api.server.advance(200)
    data = api.poll(task_id).json()["data"]
    ids = data["video_ids" if name == "ids-only" else "videos"]
    assert len(ids) == 3
    assert all(number.startswith("VI") for number in ids)


@of("no-url")
def test_items_without_url(api, name):
    items = api.import_tag(count=15)
    assert [items[4]["video_url"], items[9]["video_url"]] == ["", None]
    assert "video_url" not in items[14]
    assert sum(bool(item.get("video_url")) for item in items) == 12


@of("camel-case", "numbers")
def test_items_written_otherwise(api, name):
    item = api.import_tag(count=1)[0]
    assert ("videoNo" in item, "video_no" in item) == (name == "camel-case", name == "numbers")
    kind = int if name == "numbers" else str
    assert isinstance(item["duration"], kind)
    assert isinstance(item["create_time"], kind)


@of("failed-items", "unknown-status")
def test_states_of_items(api, name):
    states = [item["status"] for item in api.import_tag(count=20)]
    odd = ["FAIL", "FAILED", "PARSE_ERROR", "ERROR"] if name == "failed-items" else ["SIMMERING", None, "null", ""]
    assert states[4::5] == odd
    assert states.count("PARSE") == 16


@of("never-fills", "namespace-lost")
def test_imports_that_stay_empty(api, name):
    assert api.import_tag(seconds=100_000) == []
    assert api.server.accounting()["accepted"] == {"hashtag:kites": 1}


@of("creators-empty")
def test_creators_stay_empty(api, name):
    body = {"username": "https://www.tiktok.com/@pippa.fogbrook.3"}
    task_id = api.submit_to("scraper", body).json()["data"]["taskId"]
    api.server.advance(10_000)
    assert api.poll(task_id).json()["data"]["videos"] == []
    assert len(api.import_tag()) == 10


@of("fills-late", "first-late")
def test_imports_that_are_late(api, name):
    task_id = api.submit("kites", 10).json()["data"]["taskId"]
    early, late = (0, 0) if name == "first-late" else (3, 10)
    counts = []
    for seconds in (150, 200, 900):
        api.server.advance(seconds)
        counts.append(len(api.poll(task_id).json()["data"]["videos"]))
    assert counts == [early, late, 10]


@of("no-videos-code")
def test_emptiness_is_a_refusal(api, name):
    task_id = api.submit().json()["data"]["taskId"]
    refused = api.poll(task_id).json()
    assert (refused["code"], refused["msg"]) == ("0001", "no videos found")
    api.server.advance(200)
    assert api.outcome(lambda: api.poll(task_id)) == OK


@of("duplicate-items", "out-of-order", "renumbered")
def test_lists_that_change(api, name):
    task_id = api.submit("kites", 10).json()["data"]["taskId"]
    api.server.advance(200)
    first, second = (api.poll(task_id).json()["data"]["videos"] for _ in range(2))
    urls = [[item["video_url"] for item in items] for items in (first, second)]
    assert len(first) == (20 if name == "duplicate-items" else 10)
    assert set(urls[0]) == set(urls[1])
    assert len(set(urls[0])) == 10
    assert (urls[0] == urls[1]) == (name == "renumbered")
    numbers = [{item["video_no"] for item in items} for items in (first, second)]
    assert (numbers[0] == numbers[1]) == (name != "renumbered")


@of("otherwise")
def test_all_that_is_open_comes_out_the_other_way(api, name):
    assert api.outcome(lambda: api.submit("kites", 1, callback="http://127.0.0.1:9/x")) == (200, "0001")
    accepted = api.submit("kites", 1).json()
    assert (accepted["code"], accepted.keys() & {"success", "failed"}) == (200, set())
    task_id = accepted["data"]["task_id"]
    assert api.outcome(lambda: api.poll("no-such-task")) == (200, "0001")
    api.server.advance(7)
    waiting = api.poll(task_id).json()["data"]["videos"]
    assert [item["video_url"] for item in waiting if item["status"] == "UNPARSE"][:1] == [""]
    api.server.advance(200)
    items = api.poll(task_id).json()["data"]["videos"]
    assert (len(items), "videoNo" in items[0], type(items[0]["duration"])) == (3, True, int)
    assert "/@" in items[0]["video_url"]
    assert api.outcome(lambda: api.metadata(items[0]["video_url"])) == (200, "0001")
    player = f"https://www.tiktok.com/player/v1/{items[0]['video_url'].rpartition('/')[2]}"
    assert "leaf_of_next_year" in api.metadata(player).json()["data"]
    assert "itemInfo" in api.metadata(player, "rapid").json()["data"]


@of("key-for-imports")
def test_a_key_that_is_good_for_imports_only(api, name):
    assert api.outcome(lambda: api.submit("kites", 1)) == OK
    assert api.outcome(lambda: api.metadata("https://www.instagram.com/p/DTagtrail01/")) == (401, 401)
