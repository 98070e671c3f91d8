"""The v1 half over real sockets: keys, validation, the life of an import, the library."""

from __future__ import annotations

import pytest

IMPORT = ("scraper_tag", {"hash_tags": ["kites"], "scraper_cnt": 3})


def test_a_submission_answers_with_a_task_and_nothing_else(api):
    answer = api.submit("kites", 3)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert (body["code"], body["success"], body["failed"]) == ("0000", True, False)
    assert list(body["data"]) == ["taskId"]


@pytest.mark.parametrize("header", ["Bearer sk-mavi-x", "sk-mavi-x y", "pk-1", ""])
def test_only_a_bare_key_is_accepted(api, header):
    headers = {"Authorization": header}
    answer = api.http.post(f"{api.server.v1_base_url}/scraper_tag", json=IMPORT[1], headers=headers)
    assert (answer.status_code, answer.json()["code"], answer.json()["failed"]) == (200, "0401", True)
    answer = api.http.post(f"{api.server.v2_base_url}/tiktok/video/metadata", json={}, headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"code": 401, "msg": "Unauthorized", "data": None})


def test_a_set_of_keys_refuses_all_others(start):
    api = start(keys=frozenset({"sk-mavi-other"}))
    assert api.submit().json()["code"] == "0401"


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("scraper_tag", {}, "0003"),
        ("scraper_tag", {"hash_tags": []}, "0003"),
        ("scraper_tag", {"hash_tags": [""]}, "0001"),
        ("scraper_tag", {"hash_tags": ["two words"]}, "0001"),
        ("scraper_tag", {"hash_tags": ["#kites"]}, "0001"),
        ("scraper_tag", {"hash_tags": ["kites"], "scraper_cnt": 0}, "0001"),
        ("scraper_tag", {"hash_tags": ["kites"], "scraper_cnt": -1}, "0001"),
        ("scraper_tag", {"hash_tags": ["kites"], "scraper_cnt": "5"}, "0001"),
        ("scraper_tag", {"hash_tags": ["kites"], "unique_id": "a", "folder_id": -1}, "0001"),
        ("scraper_tag", {"hash_tags": ["kites"], "folder_id": -3}, "0001"),
        ("scraper_tag", ["kites"], "0001"),
        ("scraper_url", {}, "0003"),
        ("scraper_url", {"video_urls": [f"https://x.com/i/status/19{n:08d}" for n in range(3)]}, "0001"),
        ("scraper_url", {"video_urls": [f"https://www.tiktok.com/player/v1/71{n:017d}" for n in range(51)]}, "0001"),
        ("scraper_url", {"video_urls": ["https://youtu.be/abcdefghijk", "instagram.com/p/CabcdefghiJ/"]}, "0001"),
        ("scraper_url", {"video_urls": ["https://www.tiktok.com/@nobody.invented.1"]}, "0001"),
        ("scraper", {}, "0003"),
        ("scraper", {"username": "nobody.invented.1"}, "0001"),
    ],
)  # fmt: skip
def test_wrong_submissions_are_refused_in_http_200(api, path, body, code):
    answer = api.submit_to(path, body)
    assert (answer.status_code, answer.json()["code"]) == (200, code)
    assert answer.json()["data"] is None
    assert api.server.accounting()["accepted"] == {}


def test_a_body_that_is_no_json_is_refused(api):
    answer = api.http.post(f"{api.server.v1_base_url}/scraper_tag", content=b"hash_tags=kites")
    assert answer.json()["code"] == "0001"


def test_unknown_paths_and_methods(api):
    answer = api.http.get(f"{api.server.url}/serve/api/v1/nothing_here")
    expected = {"code": "0001", "msg": "No static resource api.", "data": None, "success": False, "failed": True}
    assert answer.json() == expected
    answer = api.http.get(f"{api.server.v1_base_url}/scraper_tag")
    assert answer.status_code == 405
    assert set(answer.json()) == {"timestamp", "path", "status", "error", "requestId"}


def test_an_import_fills_step_by_step_and_is_indexed_later(api):
    task_id = api.submit("kites", 10).json()["data"]["taskId"]
    assert api.poll(task_id).json()["data"] == {"videos": []}
    api.server.advance(6)
    partial = api.poll(task_id).json()["data"]["videos"]
    assert 0 < len(partial) < 10
    assert {item["status"] for item in partial} == {"UNPARSE"}
    api.server.advance(60)
    whole = api.poll(task_id).json()["data"]["videos"]
    assert len(whole) == 10
    assert {item["status"] for item in whole} == {"PARSE"}
    assert [item["video_no"] for item in whole[: len(partial)]] == [item["video_no"] for item in partial]


def test_items_are_written_as_the_contract_shows_them(api):
    item = api.import_tag(count=1)[0]
    assert set(item) == {
        "video_no", "video_name", "status", "duration", "size", "fps", "width", "height", "create_time", "video_url",
        "resolution_label",
    }  # fmt: skip
    assert item["video_no"].startswith("VI")
    assert isinstance(item["duration"], str)
    assert isinstance(item["create_time"], str)
    assert item["size"] is item["fps"] is item["resolution_label"] is None


def test_a_hashtag_finds_tiktok_and_instagram_posts_half_and_half(api):
    urls = api.urls(20)
    assert sum("tiktok.com/player/v1/" in url for url in urls) == 10
    assert sum("instagram.com/p/" in url for url in urls) == 10
    assert len(set(urls)) == 20


def test_the_same_hashtag_has_the_same_posts_on_every_server(start, api):
    assert start(limits=False).urls(8, "Kites") == api.urls(8, "kites")
    assert api.urls(8, "otherkites") != api.urls(8, "kites")


def test_a_later_import_overlaps_and_adds_the_newer_posts(start):
    api = start(limits=False)
    before = api.urls(20)
    api.server.advance(6 * 3600)
    after = api.urls(20)
    new = [url for url in after if url not in before]
    assert 3 <= len(new) <= 18
    assert after[: len(new)] == new
    assert after[len(new) :] == before[: 20 - len(new)]


def test_several_hashtags_are_counted_one_by_one(api):
    body = {"hash_tags": ["kites", "teapots"], "scraper_cnt": 4}
    task_id = api.submit_to("scraper_tag", body).json()["data"]["taskId"]
    api.server.advance(200)
    assert len(api.poll(task_id).json()["data"]["videos"]) == 8


def test_without_a_count_two_posts_come(api):
    task_id = api.submit_to("scraper_tag", {"hash_tags": ["kites"]}).json()["data"]["taskId"]
    api.server.advance(200)
    assert len(api.poll(task_id).json()["data"]["videos"]) == 2


def test_polling_under_another_namespace_shows_nothing(api):
    task_id = api.submit(unique_id="mine").json()["data"]["taskId"]
    api.server.advance(200)
    for query in ({}, {"unique_id": "Mine"}, {"unique_id": "mine", "folder_id": 7}):
        assert api.poll(task_id, **query).json() == api.poll("no-such-task").json()
    assert len(api.poll(task_id, unique_id="mine").json()["data"]["videos"]) == 10


def test_a_folder_takes_the_place_of_the_namespace(api):
    task_id = api.submit(folder_id=671631448308117500).json()["data"]["taskId"]
    api.server.advance(200)
    assert len(api.poll(task_id).json()["data"]["videos"]) == 10
    assert len(api.poll(task_id, folder_id=671631448308117500).json()["data"]["videos"]) == 10
    assert api.poll(task_id, folder_id=5).json()["data"]["videos"] == []


def test_public_imports_have_public_numbers_and_no_namespace(api):
    body = {"hash_tags": ["kites"], "scraper_cnt": 3, "unique_id": "ignored"}
    task_id = api.submit_to("scraper_tag_public", body).json()["data"]["taskId"]
    api.server.advance(200)
    items = api.poll(task_id).json()["data"]["videos"]
    assert api.poll(task_id, unique_id="default").json()["data"]["videos"] == items
    assert api.poll(task_id, unique_id="ignored").json()["data"]["videos"] == []
    assert all(item["video_no"].startswith("PI-") for item in items)


@pytest.mark.parametrize(
    ("urls", "listed"),
    [
        (
            ["https://www.tiktok.com/@paper.kite.1/video/7300000000000000001"],
            ["https://www.tiktok.com/player/v1/7300000000000000001"],
        ),
        (["instagram.com/reel/DABCDEFGHIj/?igsh=1"], ["https://www.instagram.com/p/DABCDEFGHIj/"]),
        (["https://youtu.be/abcdefghij-"], ["https://www.youtube.com/watch?v=abcdefghij-"]),
    ],
)
def test_an_import_of_urls_lists_those_posts(api, urls, listed):
    task_id = api.submit_to("scraper_url", {"video_urls": urls}).json()["data"]["taskId"]
    api.server.advance(200)
    assert [item["video_url"] for item in api.poll(task_id).json()["data"]["videos"]] == listed


def test_the_old_field_for_tiktok_urls_counts_too(api):
    url = "https://www.tiktok.com/player/v1/73000000000000000{:02d}"
    both = {"video_urls": [url.format(1)], "tiktok_post_urls": [url.format(2)]}
    task_id = api.submit_to("scraper_url", both).json()["data"]["taskId"]
    api.server.advance(200)
    assert len(api.poll(task_id).json()["data"]["videos"]) == 2


def test_an_import_of_a_creator_lists_the_creators_posts(api):
    body = {"username": "https://www.instagram.com/pippa.fogbrook.3/", "scraper_cnt": 3}
    task_id = api.submit_to("scraper", body).json()["data"]["taskId"]
    api.server.advance(200)
    items = api.poll(task_id).json()["data"]["videos"]
    assert len(items) == 3
    for item in items:
        media = api.metadata(item["video_url"]).json()["data"]["data"]["xdt_shortcode_media"]
        assert media["owner"]["username"] == "pippa.fogbrook.3"


def test_the_books_count_what_was_asked(api):
    task_id = api.submit("Kites", 2).json()["data"]["taskId"]
    api.server.advance(200)
    url = api.poll(task_id).json()["data"]["videos"][0]["video_url"]
    for _ in range(2):
        api.metadata(url)
    books = api.server.accounting()
    post = f"tiktok:{url.rsplit('/', 1)[1]}"
    assert books["submissions"] == {"hashtag:kites": {"0000": 1}}
    assert books["accepted"] == {"hashtag:kites": 1}
    assert books["status_polls"] == {task_id: 1}
    assert books["metadata"] == {post: {"apify": {"0000": 2}}}
    assert books["metadata_served"] == {post: 2}
    assert books["requests"] == 4
    assert books["imports"][0]["requested"] == 2
    assert books["imports"][0]["namespace"] == "default"
    assert {kind: len(times) for kind, times in books["times"].items()} == {
        "imports": 1, "status": 1, "metadata/apify": 2,
    }  # fmt: skip
    assert books["busiest_second"].keys() == books["times"].keys()
    api.server.reset()
    assert api.server.accounting()["requests"] == 0
    assert api.poll(task_id).json()["data"]["videos"] == []
