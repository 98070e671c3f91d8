"""What is called after a failed metadata call, and how the post ends: the kind of failure, how often it came, and what
the other channels do.

Each case scripts the answers of each channel: `503 503` fails twice and serves then, `503*` fails for ever. Posts take
turns, one try each, as tasks that Prefect tries again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, groupby, repeat
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from blocks.database.engine import Store
from blocks.database.store import export
from blocks.database.store.filters import Filters
from blocks.errors import MemoriesError
from blocks.memories.client import MemoriesClient
from blocks.posts.identity import parse_post_url
from blocks.posts.record import CHANNELS
from blocks.quotas import rate_limiter
from blocks.settings import get_settings
from flows.steps.enrichment.fetch import Fetcher
from flows.steps.enrichment.post_state import PostTask
from flows.steps.imports.plan import take_given_posts
from flows.steps.run.context import RunContext
from flows.steps.run.lifecycle import open_run
from flows.steps.run.request import request_for_urls

PAYLOAD = Path(__file__).parents[3] / "blocks/posts/payloads/invented/tiktok_item.json"


def refused(code: int, words: str) -> httpx.Response:
    return httpx.Response(200, json={"code": code, "msg": words, "data": None})


def answer(kind: str, request: httpx.Request) -> httpx.Response:
    """What the service, or the network, makes of a call."""
    match kind:
        case "lost":
            raise httpx.ReadError("the connection was reset", request=request)
        case "not sent":
            raise httpx.ConnectError("connection refused", request=request)
        case "403" | "502" | "503":
            return httpx.Response(int(kind), html="<html>an error of the gateway</html>")
        case "unreadable":
            return httpx.Response(200, text="no envelope")
        case "503 later":
            return httpx.Response(503, html="<html>an error of the gateway</html>", headers={"Retry-After": "7"})
        case "limit later":
            return httpx.Response(429, json={"code": 429, "msg": "no"}, headers={"Retry-After": "7"})
        case "busy":
            return refused(409, "Service is busy, try later")
        case "limit":
            return refused(429, "Rate limit exceeded")
        case "network":
            return refused(1, "Network abnormal")
        case "duplicate":
            return refused(409, "Repeated operation")
        case "denied":
            return refused(9009, "permission denied")
        case "refused":
            return refused(7777, "no")
        case "bad":
            return refused(400, "Invalid request parameters")
        case "credits":
            return refused(402, "Insufficient credits")
        case "key":
            return refused(401, "Unauthorized")
    raise AssertionError(kind)


class Service:
    """The API with an answer written down for each call; what the script does not say is served."""

    def __init__(self, script: dict[str, str]) -> None:
        self.calls: list[str] = []
        """The channels in the order in which they were asked."""
        self._payload = PAYLOAD.read_text(encoding="utf-8")
        self._script = {channel: self._answers(said) for channel, said in script.items()}

    @staticmethod
    def _answers(said: str) -> Iterator[str]:
        kinds = [kind.replace("_", " ") for kind in said.split()]
        for_ever = kinds.pop().removesuffix("*") if kinds[-1].endswith("*") else "served"
        return chain(kinds, repeat(for_ever))

    def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = orjson.loads(request.content)
        self.calls.append(asked["channel"])
        kind = next(self._script.get(asked["channel"], repeat("served")))
        if kind != "served":
            return answer(kind, request)
        post_id = parse_post_url(asked["video_url"]).post_id
        payload = self._payload.replace("7560000000000000123", post_id)
        return httpx.Response(200, content=f'{{"code": "0000", "data": {payload}}}')

    @property
    def asked(self) -> str:
        return ", ".join(f"{channel} {len(list(calls))}" for channel, calls in groupby(self.calls))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the table."""

    what: str
    script: dict[str, str]
    calls: str
    """The channels in the order in which they are asked, with the calls in a row."""
    end: str = "1 enriched"
    outcome: str = "done"
    paid: int
    """Calls that count as spent: answered ones, and those of which nobody knows what they did."""
    opened: str = ""
    """How often each channel was sent to rest."""
    posts: int = 1
    channel: str = "auto"
    on_trial: bool = False
    """The run is a sweep, and the service refused the account lately."""
    ends_at: datetime | None = None
    lost_before: int = 0
    """Answers that were lost in earlier runs."""


def everywhere(said: str) -> dict[str, str]:
    return dict.fromkeys(CHANNELS, said)


def alone(said: str) -> dict[str, Any]:
    return {"script": {"apify": said}, "channel": "apify"}


ATTENTION, HALTED = {"outcome": "attention"}, {"outcome": "halted"}

CASES = [
    # How often each kind of failure is tried on one channel, and that the next channel comes after that.
    Case(what="503 for the third time", script={"apify": "503 503 503"}, calls="apify 4", paid=4),
    Case(what="503 for the fourth time", script={"apify": "503 503 503 503"}, calls="apify 4, rapid 1", paid=5),
    Case(what="busy for the fourth time", script={"apify": "busy busy busy busy"}, calls="apify 5", paid=1),
    Case(
        what="busy for the fifth time: the channel rests",
        script={"apify": "busy busy busy busy busy"}, calls="apify 5, rapid 1", paid=1, opened="apify 1",
    ),
    Case(what="network abnormal three times", script={"apify": "network network network"}, calls="apify 4", paid=1),
    Case(
        what="network abnormal four times",
        script={"apify": "network network network network"}, calls="apify 4, rapid 1", paid=1,
    ),
    Case(what="not sent four times", script={"apify": "not_sent not_sent not_sent not_sent"}, calls="apify 5", paid=1),
    Case(
        what="not sent five times",
        script={"apify": "not_sent not_sent not_sent not_sent not_sent"}, calls="apify 5, rapid 1", paid=1,
        opened="apify 1",
    ),
    Case(what="too many requests: the same channel", script={"apify": "limit limit limit"}, calls="apify 4", paid=1),
    Case(what="two answers lost", script={"apify": "lost lost"}, calls="apify 3", paid=3),
    Case(what="a lost and an unreadable answer", script={"apify": "lost unreadable"}, calls="apify 3", paid=3),
    Case(
        what="three lost or unreadable answers are all that a post gets",
        script={"apify": "lost unreadable lost"}, calls="apify 3", paid=3, end="1 failed, NoAnswer after 3",
        **ATTENTION,
    ),
    Case(
        what="also where two channels lost them",
        script={"apify": "lost 503 503 503 503", "rapid": "lost lost"}, calls="apify 5, rapid 2", paid=7,
        opened="apify 1", end="1 failed, NoAnswer after 7", **ATTENTION,
    ),
    Case(
        what="also where other runs lost two", script={"apify": "unreadable"}, calls="apify 1", paid=1, lost_before=2,
        end="1 failed, Unreadable after 1, kept raw", **ATTENTION,
    ),
    Case(
        what="also where other runs lost three: nothing is called", script={}, calls="", paid=0, lost_before=3,
        end="1 failed, NoAnswer after 0", **ATTENTION,
    ),
    Case(what="403 of a gateway, once", script={"apify": "403"}, calls="apify 2", paid=1),
    Case(what="403 of a gateway, twice", script={"apify": "403 403"}, calls="apify 2, rapid 1", paid=1),
    Case(what="permission denied by its code", script={"apify": "denied"}, calls="apify 1, rapid 1", paid=1),
    Case(what="refused", script={"apify": "refused"}, calls="apify 1, rapid 1", paid=1),
    Case(what="refused as a repeated operation", script={"apify": "duplicate"}, calls="apify 1, rapid 1", paid=1),
    Case(what="bad parameters: the other form of the URL", script={"apify": "bad"}, calls="apify 2", paid=1),
    Case(what="bad parameters in both forms", script={"apify": "bad bad"}, calls="apify 2, rapid 1", paid=1),
    Case(
        what="kinds are counted each by itself",
        script={"apify": "503 busy 503 busy limit 503 busy"}, calls="apify 8", paid=4,
    ),
    Case(
        what="kinds are counted anew on the next channel",
        script={"apify": "denied", "rapid": "503 503 503"}, calls="apify 1, rapid 4", paid=4,
    ),
    # Where no channel can serve it.
    Case(
        what="503 everywhere", script=everywhere("503*"), calls="apify 4, rapid 4, memories.ai 4", paid=12,
        end="1 failed, ServerFault after 12", **ATTENTION,
    ),
    Case(
        what="network abnormal everywhere", script=everywhere("network*"), calls="apify 4, rapid 4, memories.ai 4",
        paid=0, end="1 failed, Transient after 12", **ATTENTION,
    ),
    Case(
        what="not sent, everywhere: it is given up where no channel is left",
        script=everywhere("not_sent*"), calls="apify 5, rapid 5, memories.ai 5", paid=0,
        end="1 failed, NotSent after 15", opened="apify 1 rapid 1", **ATTENTION,
    ),
    Case(
        what="permission denied everywhere", script=everywhere("denied*"), calls="apify 1, rapid 1, memories.ai 1",
        paid=0, end="1 failed, PermissionDenied after 3", **ATTENTION,
    ),
    Case(
        what="403 of a gateway for few posts", script=everywhere("403*"), calls="apify 2, rapid 2, memories.ai 2",
        paid=0, end="1 failed, PermissionDenied after 6", **ATTENTION,
    ),
    Case(
        what="bad parameters everywhere", script=everywhere("bad*"), calls="apify 2, rapid 2, memories.ai 2", paid=0,
        end="1 failed, BadParameters after 6", **ATTENTION,
    ),
    Case(
        what="503 on the only channel", **alone("503*"), calls="apify 4", paid=4, end="1 failed, ServerFault after 4",
        **ATTENTION,
    ),
    Case(
        what="busy on the only channel: one post sends it to no rest", **alone("busy*"), calls="apify 6", paid=0,
        end="1 failed, Busy after 6", **ATTENTION,
    ),
    # What ends the run.
    Case(what="no credits", script={"apify": "credits"}, calls="apify 1", paid=0, posts=3, end="3 pending", **HALTED),
    Case(what="a bad key", script={"apify": "key"}, calls="apify 1", paid=0, posts=3, end="3 pending", **HALTED),
    Case(
        what="403 of a gateway for five posts in a row", script={"apify": "403*"}, calls="apify 5", paid=0, posts=8,
        end="8 pending", **HALTED,
    ),
    Case(
        what="on trial, 503", script={"apify": "503"}, calls="apify 1", paid=1, posts=2, end="2 pending",
        on_trial=True, **HALTED,
    ),
    Case(
        what="on trial, 403 of a gateway", script={"apify": "403"}, calls="apify 1", paid=0, posts=2, end="2 pending",
        on_trial=True, **HALTED,
    ),
    Case(
        what="on trial, a refusal of one post", script={"apify": "denied"}, calls="apify 1, rapid 1", paid=1,
        on_trial=True,
    ),
    Case(
        what="too late: nothing is called", script={}, calls="", paid=0, end="1 pending", outcome="attention",
        ends_at=datetime(2020, 1, 1, tzinfo=UTC),
    ),
    # Channels that rest: open, half-open, closed again.
    Case(
        what="one channel is down", script={"apify": "503*"}, posts=8, calls="apify 5, rapid 8", paid=13,
        opened="apify 1", end="8 enriched",
    ),
    Case(
        what="two channels are down", script={"apify": "503*", "rapid": "503*"}, posts=8,
        calls="apify 5, rapid 5, memories.ai 8", paid=18, opened="apify 1 rapid 1", end="8 enriched",
    ),
    Case(
        what="four posts do not open the only channel", **alone("503*"), posts=4, calls="apify 16", paid=16,
        end="4 failed, ServerFault after 4", **ATTENTION,
    ),
    Case(
        what="five posts do, and one call closes it again", **alone("503 503 503 503 503"), posts=5, calls="apify 10",
        paid=10, opened="apify 1", end="5 enriched",
    ),
    Case(
        what="a probe that fails opens it again, and says nothing of its post", **alone("503 503 503 503 503 503 503"),
        posts=5, calls="apify 12", paid=12, opened="apify 3", end="5 enriched",
    ),
    Case(
        what="a probe that is refused closes it", **alone("503 503 503 503 503 denied"), posts=5, calls="apify 11",
        paid=10, opened="apify 1", end="5 enriched",
    ),
    Case(
        what="a probe that a gateway forbids leaves it to another", **alone("503 503 503 503 503 403"), posts=5,
        calls="apify 11", paid=10, opened="apify 1", end="5 enriched",
    ),
    Case(
        what="three failed probes of the only channel end the run", **alone("503*"), posts=6, calls="apify 8", paid=8,
        opened="apify 3", end="6 pending", **HALTED,
    ),
    Case(
        what="three failed probes of the first of three end the run", script=everywhere("503*"), posts=6,
        calls="apify 5, rapid 5, memories.ai 5, apify 1, rapid 1, memories.ai 1, apify 1, rapid 1, memories.ai 1, "
        "rapid 1", paid=22, opened="apify 3 rapid 3 memories.ai 3", end="6 pending", **HALTED,
    ),
    Case(
        what="a post that has only failing channels left tries them after each rest, and is left for another run",
        script=everywhere("busy*"),
        calls="apify 5, rapid 1, memories.ai 5, apify 1, memories.ai 1, apify 1, memories.ai 1, apify 1, memories.ai 1",
        paid=0, opened="apify 4 memories.ai 4", end="1 pending", **ATTENTION,
    ),
    Case(
        what="so do many, with one call for all of them",
        script={"apify": "503*", "rapid": "denied*", "memories.ai": "denied*"}, posts=6,
        calls="apify 5, rapid 1, memories.ai 1, apify 1, rapid 1, memories.ai 1, apify 1, rapid 1, memories.ai 1, "
        "apify 1, rapid 1, memories.ai 1, rapid 1, memories.ai 1, rapid 1, memories.ai 1",
        paid=8, opened="apify 4", end="6 pending", **ATTENTION,
    ),
]  # fmt: skip


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.now += seconds


@asynccontextmanager
async def run_for(
    store: Store, service: Service, *, posts: int = 1, channel: str = "auto", clock: Clock | None = None
) -> AsyncIterator[tuple[open_run, RunContext]]:
    """A run that asks for so many posts."""
    urls = [f"https://www.tiktok.com/@someone/video/{7_311_000_000_000_000_000 + at}" for at in range(posts)]
    client = MemoriesClient(
        SecretStr("sk-invented-for-tests"),
        v1_base_url="https://api.invalid/v1",
        v2_base_url="https://api.invalid/v2",
        transport=httpx.MockTransport(service),
    )
    async with client, open_run("enrich-posts", monotonic=clock or time.monotonic) as opened:
        run = await opened.accept_on(store, client, request_for_urls(urls, channel=channel), get_settings())
        for post in await take_given_posts(run):
            run.journal.posts[post.ref.post_id] = PostTask(post.ref, post.source_url)
            run.progress.found += 1
        yield opened, run


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGTRAIL_METADATA_PER_SECOND", "500")


@pytest.mark.parametrize("case", [pytest.param(case, id=case.what) for case in CASES])
async def test_failed_calls(case: Case, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limiter, "FIRST_BACKOFF_SECONDS", 0.01)
    # Time passes where a post waits, and nowhere else.
    service, clock = Service(case.script), Clock()
    async with run_for(sqlite_store, service, posts=case.posts, channel=case.channel, clock=clock) as (opened, run):
        run.journal.on_trial = case.on_trial
        monkeypatch.setattr(run.halt, "pause", clock.pause)
        waiting = list(run.journal.posts.values())
        for post in waiting:
            post.ends_at = case.ends_at
            post.failures_ever = Counter(lost=case.lost_before)
        while waiting:
            waiting = [post for post in waiting if await Fetcher(run).enrich(post)]
    summary = opened.summary
    assert summary is not None
    assert service.asked == case.calls
    ends = {"enriched": summary.enriched, "failed": summary.failed, "pending": summary.pending}
    rows = export.rows(sqlite_store, "failures", Filters())
    reasons = {
        f"{row['error_class']} after {row['attempts']}{', kept raw' if row['raw_sha256'] else ''}" for row in rows
    }
    told = ", ".join([*(f"{count} {end}" for end, count in ends.items() if count), *sorted(reasons)])
    assert (told, summary.outcome) == (case.end, case.outcome)
    assert summary.cost_usd == pytest.approx(case.paid * 0.01)
    assert " ".join(f"{channel} {times}" for channel, times in run.channels.times_opened.items()) == case.opened


@pytest.mark.parametrize(
    ("kind", "pause_seconds"),
    [("limit", 30), ("limit later", 7), ("503 later", 7), ("503", None), ("lost", None)],
)
async def test_a_wait_that_the_server_names_is_the_whole_accounts(
    sqlite_store: Store, kind: str, pause_seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limiter, "FIRST_BACKOFF_SECONDS", 30.0)
    async with run_for(sqlite_store, Service({"apify": kind.replace(" ", "_")})) as (_, run):
        [post] = run.journal.posts.values()
        before = datetime.now(UTC)
        with pytest.raises(MemoriesError):
            await Fetcher(run).fetch_metadata(post, "apify")
        after = datetime.now(UTC)
    until = run.progress.paused_until
    assert (until is None) == (pause_seconds is None)
    if until is not None and pause_seconds is not None:
        rounded = timedelta(milliseconds=1)
        assert before - rounded <= until - timedelta(seconds=pause_seconds) <= after + rounded
