"""Scenarios of weather, refusals and payloads over real sockets: what their one line says, and to which calls."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox.faults import KINDS
from deployments.sandbox.scenarios import SCENARIOS, Fault, Scenario, UnknownScenario, scenario_named


def of(*names: str) -> pytest.MarkDecorator:
    """The test runs once under each of these scenarios."""
    return pytest.mark.parametrize("name", names, indirect=True)


STRUCK = (4, 9)

DRIP_SECONDS = 0.1
"""A drip feeds a byte every 0.2 s; a timeout is between two bytes. Who is answered gets the fixture's own."""

OK = (200, "0000")
HTML = "text/html;charset=utf-8"
SPRING = ["error", "path", "requestId", "status", "timestamp"]
JSON = "application/json"

ONE_IN_FIVE: dict[str, Any] = {
    "html-500": (500, HTML, "unreadable"),
    "html-502": (502, HTML, "unreadable"),
    "html-503": (503, HTML, "unreadable"),
    "truncated-body": (200, JSON, "unreadable"),
    "cut-connection": "RemoteProtocolError",
    "not-json": (200, HTML, "unreadable"),
    "json-no-envelope": (200, "list"),
    "empty-body": (200, JSON, "empty"),
    "slow-drip": "ReadTimeout",
    "reset": "ReadError",
    "hang-up": "RemoteProtocolError",
    "answer-lost": "ReadError",
}
ALWAYS = {
    "html-always": (502, HTML, "unreadable"),
    "unreadable-always": (200, HTML, "unreadable"),
    "slow-drip-always": "ReadTimeout",
    "not-found": (200, "0001"),
    "bad-parameters": (400, 400),
}
EVERYWHERE = {
    "too-many-text": ((200, "0429"), (200, "0429")),
    "too-many-http": ((429, 429), (429, 429)),
    "retry-after-seconds": ((429, 429), (429, 429)),
    "retry-after-date": ((429, 429), (429, 429)),
    "retry-after-absurd": ((429, 429), (429, 429)),
    "spring-503": ((503, SPRING), (503, SPRING)),
    "network-abnormal": ((200, "0001"), (200, "0001")),
    "busy": ((200, "0409"), (200, "0409")),
    "busy-http": ((409, 409), (409, 409)),
}
FIRST_SUBMISSION = {
    "submit-html-503": ((503, HTML, "unreadable"), 0),
    "submit-dropped": ("ReadError", 1),
    "submit-reset": ("ReadError", 0),
    "submit-slow": ("ReadTimeout", 1),
    "submit-duplicate": ((200, "0409"), 0),
    "submit-unclear": (OK, 1),
}


@of(*ONE_IN_FIVE)
def test_every_fifth_post_once(api, name):
    urls = api.urls(10)
    for place, url in enumerate(urls):
        impatient = {"timeout": DRIP_SECONDS} if name == "slow-drip" and place in STRUCK else {}
        first = api.outcome(lambda url=url, impatient=impatient: api.metadata(url, **impatient))
        assert first == (ONE_IN_FIVE[name] if place in STRUCK else OK), place
        if place in STRUCK:
            assert api.outcome(lambda url=url: api.metadata(url)) == OK
    assert sum(api.server.accounting()["faults"].values()) == 2


@of(*ALWAYS)
def test_every_fifth_post_always(api, name):
    url = api.urls(5)[4]
    impatient = {"timeout": DRIP_SECONDS} if "drip" in name else {}
    for channel in ("apify", "rapid", "memories.ai", "apify"):
        found = api.outcome(lambda channel=channel: api.metadata(url, channel, **impatient))
        assert found == ALWAYS[name]


@of(*EVERYWHERE)
def test_submissions_polls_and_posts(api, name):
    submit, post = EVERYWHERE[name]
    refused = api.outcome(lambda: api.submit("kites", 10))
    assert refused == submit
    assert api.server.accounting()["accepted"] == {}
    task_id = api.submit("kites", 10).json()["data"]["taskId"]
    api.server.advance(200)
    polls = [api.outcome(lambda: api.poll(task_id)) for _ in range(6)]
    assert polls == [OK, submit, OK, OK, OK, submit]
    urls = [item["video_url"] for item in api.poll(task_id).json()["data"]["videos"]]
    answers = [api.outcome(lambda url=url: api.metadata(url)) for url in urls]
    assert [answer == post for answer in answers] == [place in STRUCK for place in range(10)]
    assert api.outcome(lambda: api.metadata(urls[4])) == OK
    if name.startswith("retry-after"):
        api.server.reset()
        asked_at = api.server.sandbox.state.clock.wall()
        value = api.submit("kites", 1).headers["retry-after"]
        answered_at = api.server.sandbox.state.clock.wall()
        if name == "retry-after-date":
            # A date has whole seconds.
            assert asked_at + 1 < parsedate_to_datetime(value).timestamp() <= answered_at + 2
        else:
            assert value == {"retry-after-seconds": "1", "retry-after-absurd": "864000"}[name]


@of(*FIRST_SUBMISSION)
def test_the_first_submission_of_a_request(api, name):
    expected, exists = FIRST_SUBMISSION[name]
    slow = name == "submit-slow"
    address = f"{api.server.v1_base_url}/scraper_tag"

    def submit(tag: str, **impatient: float) -> Any:
        body = {"hash_tags": [tag], "scraper_cnt": 2}
        return api.outcome(lambda: api.http.post(address, json=body, **impatient))

    at_first = {"timeout": DRIP_SECONDS} if slow else {}
    assert submit("kites", **at_first) == expected
    assert api.server.accounting()["accepted"].get("hashtag:kites", 0) == exists
    if exists:
        task_id = api.server.accounting()["imports"][0]["task_id"]
        api.server.advance(200)
        assert len(api.poll(task_id).json()["data"]["videos"]) == 2
    assert submit("kites") == OK
    assert submit("teapots", **at_first) == expected


@of("html-status", "reset-status")
def test_every_second_poll(api, name):
    task_id = api.submit().json()["data"]["taskId"]
    fault = (502, HTML, "unreadable") if name == "html-status" else "ReadError"
    assert [api.outcome(lambda: api.poll(task_id)) for _ in range(4)] == [fault, OK, fault, OK]


@of("spring-404")
def test_framework_answers_404(api, name):
    assert api.outcome(lambda: api.http.get(f"{api.server.v1_base_url}/nothing_here")) == (404, SPRING)
    task_id = api.submit().json()["data"]["taskId"]
    assert [api.outcome(lambda: api.poll(task_id)) for _ in range(3)] == [(404, SPRING), (404, SPRING), OK]


@of("slow")
def test_answers_take_longer(api, name):
    answer = api.submit()
    assert answer.elapsed.total_seconds() > 0.39


@of("no-credits")
def test_no_credits_at_all(api, name):
    assert api.outcome(api.submit) == (200, "0402")
    assert api.outcome(lambda: api.metadata("https://www.tiktok.com/player/v1/7300000000000000777")) == (402, 402)
    assert api.outcome(lambda: api.poll("x")) == OK


@of("credits-gone", "key-revoked", "account-disabled")
def test_refused_after_ten_metadata_calls(api, name):
    text, number = {
        "credits-gone": ("0402", 402),
        "key-revoked": ("0401", 401),
        "account-disabled": ("0403", 403),
    }[name]
    urls = api.urls(12)
    assert api.outcome(lambda: api.metadata(urls[0])) == OK
    api.server.play(name)
    answers = [api.outcome(lambda url=url: api.metadata(url)) for url in urls]
    assert answers == [OK] * 10 + [(number, number)] * 2
    assert api.outcome(lambda: api.submit("teapots")) == (200, text)
    assert api.outcome(lambda: api.poll("x")) == (OK if name == "credits-gone" else (200, text))


@of("permission-denied")
def test_submissions_are_not_permitted(api, name):
    assert [api.outcome(api.submit) for _ in range(2)] == [(200, "9009")] * 2


@of("apify-refuses", "apify-down", "channels-down")
def test_channels_that_cannot_serve(api, name):
    urls = api.urls(5)
    down = (503, HTML, "unreadable")
    apify = {"apify-refuses": [OK] * 4 + [(400, 400)], "apify-down": [down] * 5, "channels-down": [down] * 5}[name]
    assert [api.outcome(lambda url=url: api.metadata(url)) for url in urls] == apify
    other = down if name == "channels-down" else OK
    assert [api.outcome(lambda url=url: api.metadata(url, "rapid")) for url in urls] == [other] * 5


@of("tiktok-handle-only", "tiktok-author-only", "tiktok-player-only", "instagram-reel-only")
def test_forms_of_urls(api, name):
    tiktok, instagram = ("@a.b.1/video/", "@_/video/", "player/v1/"), ("p/", "reel/", "reels/")
    urls = [f"https://www.tiktok.com/{form}7300000000000000777" for form in tiktok]
    urls += [f"https://www.instagram.com/{form}CAbcdEfGh12/" for form in instagram]
    refused = {
        "tiktok-handle-only": urls[2:3],
        "tiktok-author-only": urls[1:3],
        "tiktok-player-only": urls[:2],
        "instagram-reel-only": urls[3:4],
    }[name]
    assert [url for url in urls if api.outcome(lambda url=url: api.metadata(url)) != OK] == refused
    assert all(api.outcome(lambda url=url: api.metadata(url)) == (400, 400) for url in refused)


@of("null-media", "null-data")
def test_posts_that_are_gone(api, name):
    urls = api.urls(10)
    tiktok, instagram = api.metadata(urls[4]).json(), api.metadata(urls[9]).json()
    assert tiktok["code"] == instagram["code"] == "0000"
    if name == "null-data":
        assert tiktok["data"] is instagram["data"] is None
        return
    assert tiktok["data"] == []
    assert api.metadata(urls[4], "rapid").json()["data"]["itemInfo"]["itemStruct"] is None
    assert instagram["data"]["data"] == {"xdt_shortcode_media": None}
    assert api.metadata(urls[8]).json()["data"]


@of("unknown-shape")
def test_shapes_that_nobody_knows(api, name):
    urls = api.urls(10)
    assert "leaf_of_next_year" in api.metadata(urls[4]).json()["data"]
    assert "xdt_shortcode_media" not in api.metadata(urls[9]).text
    assert "xdt_shortcode_media" in api.metadata(urls[7]).text


@of("wrong-post")
def test_payloads_of_another_post(api, name):
    urls = api.urls(10)
    assert api.metadata(urls[4]).json()["data"][0]["id"] != urls[4].rsplit("/", 1)[1]
    media = api.metadata(urls[9]).json()["data"]["data"]["xdt_shortcode_media"]
    assert media["shortcode"] not in urls[9]
    assert api.metadata(urls[0]).json()["data"][0]["id"] == urls[0].rsplit("/", 1)[1]


@of("strings")
def test_counts_are_texts(api, name):
    urls = api.urls(2)
    assert isinstance(api.metadata(urls[0]).json()["data"][0]["playCount"], str)
    media = api.metadata(urls[1]).json()["data"]["data"]["xdt_shortcode_media"]
    assert isinstance(media["edge_media_preview_like"]["count"], str)
    assert isinstance(media["video_play_count"], str)
    assert isinstance(media["is_video"], bool)


@of("codes-as-text", "codes-as-numbers", "bare-codes")
def test_forms_of_codes(api, name):
    good = api.submit().json()
    bad_v1 = api.outcome(lambda: api.submit_to("scraper_tag", {}))
    bad_v2 = api.outcome(lambda: api.metadata("https://www.tiktok.com/@only.profile"))
    if name == "codes-as-text":
        assert (good["code"], bad_v1, bad_v2) == ("0000", (200, "0003"), (200, "0001"))
        return
    assert (good["code"], "success" in good) == (200 if name == "codes-as-numbers" else 0, False)
    assert bad_v1 == ((400, 400) if name == "codes-as-numbers" else (200, "0003"))
    assert bad_v2 == (400, 400)


@of("storm")
def test_all_posts_can_be_had_in_a_storm(api, name):
    assert api.outcome(lambda: api.submit("kites", 48)) == (200, "0429")
    task_id = api.submit("kites", 48).json()["data"]["taskId"]
    api.server.advance(200)
    items = api.poll(task_id).json()["data"]["videos"]
    urls = list(dict.fromkeys(item["video_url"] for item in items))
    first = [api.outcome(lambda url=url: api.metadata(url)) for url in urls]
    assert sum(found != OK for found in first) == 28
    assert all(api.outcome(lambda url=url: api.metadata(url)) == OK for url in urls)


def test_every_scenario_is_tested():
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in SCENARIOS if f'"{name}"' not in tests] == []


def test_every_fault_is_of_a_known_kind_and_every_scenario_says_what_it_is():
    kinds = {fault.kind for scenario in SCENARIOS.values() for fault in scenario.faults}
    assert kinds <= set(KINDS)
    assert all(scenario.about for scenario in SCENARIOS.values())
    assert all("\n" not in scenario.about for scenario in SCENARIOS.values())


def test_a_scenario_is_frozen():
    with pytest.raises(FrozenInstanceError):
        SCENARIOS["default"].about = "x"  # type: ignore[misc]


def test_a_wrong_name_lists_all_scenarios():
    with pytest.raises(UnknownScenario) as caught:
        scenario_named("sunny")
    assert all(name in str(caught.value) for name in SCENARIOS)


def test_switches_can_be_changed_over_http(api):
    api.server.play("null-media", every=2, tiktok_forms=["handle"])
    urls = api.urls(4)
    assert api.outcome(lambda: api.metadata(urls[0])) == (400, 400)
    assert api.metadata(urls[1]).json()["data"]["data"]["xdt_shortcode_media"] is None
    with pytest.raises(ValueError, match="no switch 'sunshine'"):
        api.server.play("default", sunshine=True)
    with pytest.raises(ValueError, match="no scenario 'sunny'"):
        api.server.play("sunny")


def test_a_scenario_of_ones_own(start):
    api = start(
        Scenario(about="mine", faults=(Fault(on="metadata", kind="busy_text", every=1, times=2),)), limits=False
    )
    url = api.urls(1)[0]
    assert [api.outcome(lambda: api.metadata(url)) for _ in range(3)] == [(200, "0409"), (200, "0409"), OK]
