"""The account's limits over real sockets, and the windows behind them with a clock that stands still."""

from __future__ import annotations

from collections import deque

import pytest

from deployments.sandbox.clock import Limits, VirtualClock, metadata_limit
from deployments.sandbox.state import busiest

TIKTOK = "https://www.tiktok.com/player/v1/7300000000000000777"
YOUTUBE = "https://www.youtube.com/watch?v=abcdefghij-"


def test_one_import_a_minute(start):
    # Time all but stands still, so that a slow machine counts the same.
    api = start(time_scale=0.001)
    codes = [api.submit().json()["code"] for _ in range(3)]
    assert codes == ["0000", "0429", "0429"]
    api.server.advance(61)
    assert api.submit("teapots").json()["code"] == "0000"
    books = api.server.accounting()
    assert books["submissions"] == {"hashtag:kites": {"0000": 1, "0429": 2}, "hashtag:teapots": {"0000": 1}}
    assert len(books["times"]["imports"]) == 4


def test_one_poll_a_second(start):
    api = start(time_scale=0.001)
    codes = [api.poll("x").json()["code"] for _ in range(2)]
    assert codes == ["0000", "0429"]
    api.server.advance(1)
    assert api.poll("x").json()["code"] == "0000"


@pytest.mark.parametrize(("scenario", "allowed"), [("default", 10), ("lower-limit", 5)])
def test_metadata_calls_a_second_whatever_the_platform(start, scenario, allowed):
    api = start(scenario, time_scale=0.001)
    urls = (TIKTOK, "https://www.instagram.com/p/DABCDEFGHIj/")
    statuses = [api.metadata(urls[n % 2]).status_code for n in range(12)]
    assert statuses == [200] * allowed + [429] * (12 - allowed)
    assert api.metadata(TIKTOK).json() == {"code": 429, "msg": "Rate limit exceeded", "data": None}
    assert api.metadata(TIKTOK, "memories.ai").status_code == 200
    api.server.advance(1)
    assert api.metadata(TIKTOK).status_code == 200


def test_youtube_through_rapid_has_twelve_an_hour_of_its_own(start):
    api = start(time_scale=0.001)
    statuses = [api.metadata(YOUTUBE, "rapid").status_code for _ in range(14)]
    assert statuses == [200] * 12 + [429] * 2
    assert api.metadata(TIKTOK, "rapid").status_code == 200
    assert api.metadata(YOUTUBE, "apify").status_code == 200
    api.server.advance(3600)
    assert api.metadata(YOUTUBE, "rapid").status_code == 200


def test_keys_have_limits_of_their_own(start):
    api = start(time_scale=0.001)
    address = f"{api.server.v1_base_url}/scraper_tag"
    body = {"hash_tags": ["kites"], "scraper_cnt": 1}
    codes = [
        api.http.post(address, json=body, headers={"Authorization": key}).json()["code"] for key in ("sk-a", "sk-b")
    ]
    assert codes == ["0000", "0000"]


def test_no_limit_where_they_are_off(start):
    api = start(limits=False)
    assert {api.submit().json()["code"] for _ in range(3)} == {"0000"}
    assert {api.metadata(TIKTOK).status_code for _ in range(15)} == {200}
    assert len(api.server.accounting()["times"]["metadata/apify"]) == 15


def test_the_busiest_second_is_of_the_times_that_the_books_hold(start):
    assert [busiest(deque(times)) for times in ([], [1.0], [1.0, 1.5, 1.9, 2.0, 9.0], [1.0, 2.0, 3.0])] == [0, 1, 3, 1]
    api = start(limits=False)
    for _ in range(2):
        api.poll("x")
    books = api.server.accounting()
    assert books["busiest_second"] == {"status": busiest(deque(books["times"]["status"]))}


def test_the_form_of_a_refusal_follows_the_scenario(start):
    api = start("codes-as-text", time_scale=0.001)
    answers = [api.metadata(TIKTOK) for _ in range(11)]
    assert (answers[-1].status_code, answers[-1].json()["code"]) == (200, "0429")


class StillClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_sender_on_the_limit_is_never_refused_and_a_faster_one_is():
    hands = StillClock()
    limits = Limits(VirtualClock(1.0, monotonic=hands))

    def refused(every: float) -> int:
        limits.forget()
        missed = 0
        for _ in range(200):
            hands.seconds += every
            missed += not limits.allows("sk-a", "metadata/apify", 10, 1.0)
        return missed

    assert refused(0.1) == 0
    assert refused(0.08) > 15


def test_a_time_scale_widens_the_limits():
    hands = StillClock()
    limits = Limits(VirtualClock(60.0, monotonic=hands))
    for _ in range(5):
        hands.seconds += 1.0
        assert limits.allows("sk-a", "imports", 1, 60.0)
    hands.seconds += 0.5
    assert not limits.allows("sk-a", "imports", 1, 60.0)


def test_names_of_the_metadata_limits():
    assert metadata_limit("instagram", "rapid", 10.0) == ("metadata/rapid", 10.0, 1.0)
    assert metadata_limit("youtube", "apify", 10.0) == ("metadata/apify", 10.0, 1.0)


def test_time_runs_jumps_and_tells_clients_real_times():
    hands = StillClock()
    clock = VirtualClock(60.0, started_at=1_000_000.0, monotonic=hands)
    hands.seconds = 10.0
    assert clock.now() == 600.0
    clock.advance(3600)
    assert clock.now() == 4200.0
    hands.seconds = 20.0
    assert clock.now() == 4800.0
    assert clock.seen_at(-50) == 999_950
    assert clock.seen_at(300) == 1_000_005
    assert clock.seen_at(2000) == 1_000_010
    assert clock.seen_at(4500) == 1_000_015
    assert clock.wall() == 1_000_020.0
    clock.restart()
    assert (clock.now(), clock.wall()) == (0.0, 1_000_020.0)
    with pytest.raises(ValueError, match="above 0"):
        VirtualClock(0)
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1)
