"""The order of channels, and the breaker that rests one that keeps failing."""

from __future__ import annotations

import pickle

import pytest

from blocks.errors import PermissionDenied
from blocks.posts.record import CHANNELS, Channel
from flows.steps.enrichment.circuit_breaker import (
    MAX_FAILED_PROBES,
    MAX_FAILURES,
    MAX_FAILURES_OF_KNOWN,
    Channels,
    CircuitBreaker,
    ServiceSilent,
)

REST_SECONDS = 60.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def channels(clock: Clock) -> Channels:
    return Channels(("apify", "rapid", "memories.ai"), rest_seconds=REST_SECONDS, monotonic=clock)


def fail(channels: Channels, channel: Channel, times: int, first: int = 0) -> list[bool]:
    """So many calls of different posts fail."""
    return [channels.failed(channel, f"post {first + n}") for n in range(times)]


def all_rest(channels: Channels) -> None:
    for channel in channels.order:
        assert fail(channels, channel, MAX_FAILURES)[-1]


def test_the_three_states_of_a_circuit_breaker(clock: Clock) -> None:
    breaker = CircuitBreaker(REST_SECONDS, clock)
    assert breaker.state == "closed"
    opened = [breaker.failed(f"post {n}", others_closed=True) for n in range(MAX_FAILURES)]
    assert (opened[-2:], breaker.state, breaker.admit("a")) == ([False, True], "open", False)
    clock.now += REST_SECONDS
    assert breaker.state == "half-open"
    assert [breaker.admit(post) for post in "ab"] == [True, False], "one probe"
    assert (breaker.failed("a", others_closed=True), breaker.state) == (True, "open")
    clock.now += REST_SECONDS
    assert [breaker.admit(post) for post in "ab"] == [False, True], "another post is the next probe"
    breaker.answered()
    assert (breaker.state, breaker.admit("a"), breaker.times_opened) == ("closed", True, 2)


def test_after_three_failed_probes_a_channel_is_dead_until_it_answers(clock: Clock) -> None:
    breaker = CircuitBreaker(REST_SECONDS, clock)
    for n in range(MAX_FAILURES):
        breaker.failed(f"post {n}", others_closed=True)
    for probe in range(MAX_FAILED_PROBES):
        assert not breaker.is_dead
        clock.now += REST_SECONDS
        assert breaker.admit(f"probe {probe}")
        breaker.failed(f"probe {probe}", others_closed=True)
    assert breaker.is_dead
    breaker.answered()
    assert not breaker.is_dead


def test_a_post_goes_through_the_channels_in_order_and_then_has_none_left(channels: Channels) -> None:
    refused: set[Channel] = set()
    asked = []
    while channels.left(refused):
        channel = channels.pick(refused, "a")
        assert channel is not None
        asked.append(channel)
        refused.add(channel)
    assert asked == ["apify", "rapid", "memories.ai"]


def test_the_order_is_the_settings_own() -> None:
    assert Channels(("rapid", "apify"), rest_seconds=REST_SECONDS).pick(set(), "a") == "rapid"
    assert not Channels(("memories.ai",), rest_seconds=REST_SECONDS).left({"memories.ai"})


def test_a_channel_rests_after_faults_in_a_row_and_is_tried_by_one_post_then(channels: Channels, clock: Clock) -> None:
    assert fail(channels, "apify", MAX_FAILURES) == [False] * (MAX_FAILURES - 1) + [True]
    assert (channels["apify"].state, channels.pick(set(), "a")) == ("open", "rapid")
    clock.now += REST_SECONDS - 0.001
    assert channels.pick(set(), "a") == "rapid"
    clock.now += 0.002
    assert [channels.pick(set(), post) for post in ("a", "b")] == ["apify", "rapid"]
    channels.answered("apify")
    assert [channels.pick(set(), post) for post in ("b", "c")] == ["apify", "apify"]
    assert channels.times_opened == {"apify": 1}


def test_one_that_fails_again_after_its_rest_rests_again_at_once(channels: Channels, clock: Clock) -> None:
    fail(channels, "apify", MAX_FAILURES)
    for rests in (2, 3, 4, 5):
        clock.now += REST_SECONDS
        post = f"post {rests}"
        assert channels.pick(set(), post) == "apify"
        assert channels.failed("apify", post)
        assert (channels["apify"].state, channels.times_opened) == ("open", {"apify": rests})
    assert channels.silent is None, "others are awake"


def test_a_post_that_makes_no_call_leaves_the_channel_to_another(channels: Channels, clock: Clock) -> None:
    fail(channels, "apify", MAX_FAILURES)
    clock.now += REST_SECONDS
    assert channels.pick(set(), "a") == "apify"
    channels["apify"].release("b")
    assert channels.pick(set(), "b") == "rapid", "the post that tries it is another one"
    channels["apify"].release("a")
    assert channels.pick(set(), "b") == "apify"


def test_an_answer_in_between_starts_the_count_anew(channels: Channels) -> None:
    fail(channels, "apify", MAX_FAILURES - 1)
    channels.answered("apify")
    assert not any(fail(channels, "apify", MAX_FAILURES - 1))
    assert channels.pick(set(), "a") == "apify"


def test_the_faults_of_one_channel_are_not_anothers(channels: Channels) -> None:
    fail(channels, "apify", MAX_FAILURES - 1)
    assert not any(fail(channels, "rapid", MAX_FAILURES - 1))


def test_calls_that_were_made_before_a_rest_send_no_channel_to_rest_again(channels: Channels, clock: Clock) -> None:
    fail(channels, "apify", MAX_FAILURES)
    assert not any(fail(channels, "apify", 10 * MAX_FAILURES))
    clock.now += REST_SECONDS
    assert channels.pick(set(), "a") == "apify"
    assert not any(fail(channels, "apify", 10 * MAX_FAILURES))
    assert (channels.times_opened, channels["apify"].is_probe("a")) == ({"apify": 1}, True)
    channels.answered("apify")
    assert channels["apify"].state == "closed", "an answer wakes it, whoever asked"


def test_a_call_that_waits_for_its_turn_is_not_made_once_the_channel_rests(channels: Channels, clock: Clock) -> None:
    assert channels["apify"].allows("a")
    fail(channels, "apify", MAX_FAILURES)
    assert not channels["apify"].allows("a")
    clock.now += REST_SECONDS
    assert channels.pick(set(), "a") == "apify"
    assert [channels["apify"].allows(post) for post in ("a", "b")] == [True, False]


def test_where_every_channel_rests_the_posts_wait_and_one_call_tries_each(channels: Channels, clock: Clock) -> None:
    all_rest(channels)
    assert channels.pick(set(), "a") is None
    assert channels.wait_seconds(set()) == REST_SECONDS / 60
    clock.now += REST_SECONDS - 0.25
    assert channels.wait_seconds(set()) == 0.25
    clock.now += 0.25
    assert [channels.pick(set(), post) for post in "abcde"] == ["apify", "rapid", "memories.ai", None, None]
    channels.answered("rapid")
    assert [channels.pick(set(), post) for post in "de"] == ["rapid", "rapid"]
    assert channels.wait_seconds({"rapid"}) > 0


def test_a_post_that_only_resting_channels_could_serve_waits_though_others_are_awake(
    channels: Channels, clock: Clock
) -> None:
    fail(channels, "rapid", MAX_FAILURES)
    assert channels.pick({"apify"}, "a") == "memories.ai"
    refused: set[Channel] = {"apify", "memories.ai"}
    assert channels.pick(refused, "a") is None
    clock.now += REST_SECONDS
    assert [channels.pick(refused, post) for post in "ab"] == ["rapid", None]
    channels.answered("rapid")
    assert channels.pick(refused, "b") == "rapid"


def test_posts_that_only_silent_channels_could_serve_are_left_in_the_end(channels: Channels, clock: Clock) -> None:
    refused: set[Channel] = {"apify"}
    silent: tuple[Channel, ...] = ("rapid", "memories.ai")
    for channel in silent:
        fail(channels, channel, MAX_FAILURES)
    for rest in range(MAX_FAILED_PROBES):
        assert not channels.are_dead(refused)
        channels.leave(refused)
        assert channels.unserved is None
        channels.answered("apify")  # What it says to others is of no help to these.
        clock.now += REST_SECONDS
        for channel in silent:
            assert channels.pick(refused, f"{rest} {channel}") == channel
            assert channels.failed(channel, f"{rest} {channel}")
    assert channels.are_dead(refused)
    channels.leave(refused)
    assert (channels.silent, channels.pick(set(), "a")) == (None, "apify"), "the others go on"
    said = pickle.loads(pickle.dumps(channels.unserved))
    assert said.halts
    assert "rapid and memories.ai answered no call" in str(said)
    channels.answered("rapid")
    assert not channels.are_dead(refused)


def test_posts_that_are_forbidden_by_the_status_alone_bar_all_where_nothing_else_is_answered(
    channels: Channels,
) -> None:
    error = PermissionDenied("", endpoint="/tiktok/video/metadata", http_status=403)
    for few in range(3):
        for post in [*range(MAX_FAILURES - 1), 0]:  # The last one is asked for on another channel.
            channels.forbidden(f"post {few} {post}", error)
        assert channels.silent is None
        channels.answered("rapid")
    for post in range(MAX_FAILURES):
        channels.forbidden(f"post {post}", error)
    said = pickle.loads(pickle.dumps(channels.silent))
    assert said.halts
    assert "for 5 posts in a row were forbidden" in str(said)
    assert "HTTP 403" in str(said)


@pytest.mark.parametrize("order", [("apify",), CHANNELS])
def test_rests_in_vain_of_all_channels_end_the_run(order: tuple[Channel, ...], clock: Clock) -> None:
    channels = Channels(order, rest_seconds=REST_SECONDS, monotonic=clock)
    channels.failed(order[0], "early")
    channels.answered(order[0])
    clock.now += 3600  # The import took that long; nobody asked for metadata meanwhile.
    all_rest(channels)
    for rest in range(MAX_FAILED_PROBES - 1):
        clock.now += REST_SECONDS
        for channel in order:
            assert channels.pick(set(order) - {channel}, str(rest)) == channel
            assert channels.failed(channel, str(rest))
    assert (channels.silent, set(channels.times_opened.values())) == (None, {MAX_FAILED_PROBES})
    channels.failed("apify", "a call that was made before the rest")
    assert channels.silent is None
    clock.now += REST_SECONDS
    assert channels.pick(set(), "a") == "apify"
    assert not channels.failed("apify", "a")
    assert channels.silent is not None
    assert channels.silent.halts
    assert "no metadata call for 3 minutes on any channel" in str(channels.silent)
    assert channels.times_opened["apify"] == MAX_FAILED_PROBES, "the run ends instead of a fourth rest"


def test_an_answer_on_any_channel_makes_all_waiting_worth_it_again(channels: Channels, clock: Clock) -> None:
    all_rest(channels)
    for rest in range(4 * MAX_FAILED_PROBES):
        clock.now += REST_SECONDS
        for channel in channels.order:
            assert channels.pick(set(channels.order) - {channel}, str(rest)) == channel
        channels.failed("apify", str(rest))
        channels.failed("rapid", str(rest))
        channels.answered("memories.ai")
        assert fail(channels, "memories.ai", MAX_FAILURES)[-1]
    assert channels.silent is None


def test_few_posts_that_nobody_can_serve_send_the_last_channel_to_no_rest() -> None:
    only = Channels(("apify",), rest_seconds=REST_SECONDS)
    for _ in range(10):
        assert not any(fail(only, "apify", MAX_FAILURES - 1))
    assert only.pick(set(), "a") == "apify"
    assert only.failed("apify", "one more")
    assert only.pick(set(), "a") is None


def test_many_that_failed_while_others_were_served_send_the_last_channel_to_no_rest_either(clock: Clock) -> None:
    only = Channels(("apify",), rest_seconds=REST_SECONDS, monotonic=clock)
    fail(only, "apify", 2 * MAX_FAILURES - 1)  # So many were under way at once.
    clock.now += REST_SECONDS
    assert only.pick(set(), "good") == "apify"
    only.answered("apify")
    fail(only, "apify", MAX_FAILURES - 1, first=100)
    only.answered("apify")
    for _ in range(MAX_FAILURES_OF_KNOWN // (MAX_FAILURES - 1) - 1):
        assert not any(fail(only, "apify", MAX_FAILURES - 1, first=100))
    assert only["apify"].state == "closed"
    assert not only.failed("apify", "another")
    assert fail(only, "apify", MAX_FAILURES - 1, first=100)[-1], "but so many in a row look like a dead service"


def test_a_post_that_is_given_up_says_nothing_more_of_the_last_channel(channels: Channels) -> None:
    only = Channels(("apify",), rest_seconds=REST_SECONDS)
    for n in range(10 * MAX_FAILURES):
        assert not only.failed("apify", f"post {n}", final=True)
    assert [channels.failed("apify", f"post {n}", final=True) for n in range(5)][-1], "others are awake here"


def test_posts_that_tried_in_vain_let_others_try(clock: Clock) -> None:
    only = Channels(("apify",), rest_seconds=REST_SECONDS, monotonic=clock)
    all_rest(only)
    clock.now += REST_SECONDS
    assert only.pick(set(), "a") == "apify"
    only.failed("apify", "a")
    clock.now += REST_SECONDS
    assert only.pick(set(), "a") is None
    assert only.pick(set(), "b") == "apify"
    only.failed("apify", "b")
    clock.now += REST_SECONDS + only.wait_seconds(set()) * 3
    assert only.pick(set(), "a") == "apify", "where no other comes it is tried all the same"


def test_the_sentence_names_minutes_or_seconds() -> None:
    said = [str(ServiceSilent(seconds)).split(" call for ")[1].split(" on any")[0] for seconds in (2, 60, 190)]
    assert said == ["2 s", "1 minute", "3 minutes"]
    error = pickle.loads(pickle.dumps(ServiceSilent(190)))
    assert (str(error), error.seconds) == (str(ServiceSilent(190)), 190)


def test_a_dead_channel_costs_few_calls_of_many_posts(channels: Channels) -> None:
    asked = []
    for post in range(1000):
        channel = channels.pick(set(), str(post))
        assert channel is not None
        asked.append(channel)
        if channel == "apify":
            channels.failed(channel, str(post))
        else:
            channels.answered(channel)
    assert asked.count("apify") == MAX_FAILURES
    assert set(asked[MAX_FAILURES:]) == {"rapid"}
