"""The order of channels, and the breaker that rests one that keeps failing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from blocks.memories.posts.record import CHANNELS, Channel
from flows.steps.channels import Channels
from flows.steps.policy import REST_AFTER_FAULTS, REST_SECONDS


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def channels(clock: Clock) -> Channels:
    return Channels(("apify", "rapid", "memories.ai"), monotonic=clock)


def fail(channels: Channels, channel: Channel, times: int) -> list[bool]:
    return [channels.failed(channel) for _ in range(times)]


def test_a_post_goes_through_the_channels_in_order_and_then_has_none_left(channels: Channels) -> None:
    refused: set[Channel] = set()
    asked = []
    while (channel := channels.pick(refused)) is not None:
        asked.append(channel)
        refused.add(channel)
    assert asked == ["apify", "rapid", "memories.ai"]


def test_the_order_is_the_settings_own() -> None:
    assert Channels(("rapid", "apify")).pick(set()) == "rapid"
    assert Channels(("memories.ai",)).pick({"memories.ai"}) is None


def test_a_channel_rests_after_faults_in_a_row_and_comes_back(channels: Channels, clock: Clock) -> None:
    assert fail(channels, "apify", REST_AFTER_FAULTS) == [False] * (REST_AFTER_FAULTS - 1) + [True]
    assert (channels.resting("apify"), channels.pick(set())) == (True, "rapid")
    clock.now += REST_SECONDS - 0.001
    assert channels.pick(set()) == "rapid"
    clock.now += 0.002
    assert (channels.resting("apify"), channels.pick(set())) == (False, "apify")
    assert channels.rested == {"apify": 1}


def test_a_success_in_between_starts_the_count_anew(channels: Channels) -> None:
    fail(channels, "apify", REST_AFTER_FAULTS - 1)
    channels.served("apify")
    assert not any(fail(channels, "apify", REST_AFTER_FAULTS - 1))
    assert channels.pick(set()) == "apify"


def test_the_faults_of_one_channel_are_not_anothers(channels: Channels) -> None:
    fail(channels, "apify", REST_AFTER_FAULTS - 1)
    assert not any(fail(channels, "rapid", REST_AFTER_FAULTS - 1))


def test_one_that_fails_again_after_its_rest_rests_again_only_after_as_many_faults(
    channels: Channels, clock: Clock
) -> None:
    fail(channels, "apify", REST_AFTER_FAULTS)
    clock.now += REST_SECONDS + 1
    assert fail(channels, "apify", REST_AFTER_FAULTS)[-1]
    assert channels.rested == {"apify": 2}


def test_where_every_channel_rests_the_first_one_left_is_asked_all_the_same(channels: Channels) -> None:
    for channel in CHANNELS:
        fail(channels, channel, REST_AFTER_FAULTS)
    assert channels.pick(set()) == "apify"
    assert channels.pick({"apify"}) == "rapid"
    assert channels.pick(set(CHANNELS)) is None


def test_a_resting_channel_is_not_the_answer_for_a_post_that_it_refused(channels: Channels) -> None:
    fail(channels, "rapid", REST_AFTER_FAULTS)
    assert channels.pick({"apify"}) == "memories.ai"
    assert channels.pick({"apify", "memories.ai"}) == "rapid", "the last one left is asked, rest or not"


def test_the_only_channel_never_rests() -> None:
    only = Channels(("apify",))
    assert not any(fail(only, "apify", 10 * REST_AFTER_FAULTS))
    assert only.pick(set()) == "apify"
    assert not only.rested


@pytest.fixture
def steps() -> Callable[[Channels, int], list[Channel]]:
    """Which channel each of so many posts is asked on first, while apify answers nothing."""

    def ask(channels: Channels, posts: int) -> list[Channel]:
        asked = []
        for _ in range(posts):
            channel = channels.pick(set())
            assert channel is not None
            asked.append(channel)
            if channel == "apify":
                channels.failed(channel)
            else:
                channels.served(channel)
        return asked

    return ask


def test_a_dead_channel_costs_few_calls_of_many_posts(
    channels: Channels, steps: Callable[[Channels, int], list[Channel]]
) -> None:
    asked = steps(channels, 1000)
    assert asked.count("apify") == REST_AFTER_FAULTS
    assert set(asked[REST_AFTER_FAULTS:]) == {"rapid"}
