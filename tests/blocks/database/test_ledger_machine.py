"""The ledger under any mixture of runs, crashes, late answers, decisions and time: it buys nothing twice by itself."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from blocks.database.engine import Store
from blocks.database.store import import_planning, import_polls, leases
from blocks.database.store import imports as ledger
from blocks.database.store.filters import IMPORT_STATES
from blocks.database.store.import_planning import Ticket
from blocks.database.store.import_polls import ItemSeen
from blocks.database.tables import Import
from blocks.posts.identity import parse_post_url

REUSE = timedelta(hours=6)
HELD = ("submitted", "collecting", "complete", "empty")

# `planned` to `submitted`, and `ambiguous` to `planned` or `failed`: an answer that came late.
EDGES = {
    "planned": {"sending", "failed", "dropped", "submitted"},
    "sending": {"planned", "submitted", "failed", "ambiguous"},
    "ambiguous": {"planned", "submitted", "dropped", "failed"},
    "submitted": {"collecting", "empty", "failed", "dropped"},
    "collecting": {"complete", "empty", "failed", "dropped"},
    "empty": {"collecting"},
    "complete": set(),
    "failed": set(),
    "dropped": set(),
}


@dataclass
class Bought:
    """A submission that the API accepted, whether or not anybody heard its answer."""

    import_id: str
    count: int
    at: datetime
    forgotten: bool = False
    """Somebody decided that it is no reason any more not to buy."""


@dataclass
class Runner:
    name: str
    lives: bool = True
    frozen: bool = False
    ticket: Ticket | None = None
    sent: str | None = None
    """The import that it sent and has no answer of yet."""
    accepted: bool = False


@dataclass
class World:
    now: datetime = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
    runners: list[Runner] = field(default_factory=list)
    bought: list[Bought] = field(default_factory=list)
    listed: dict[str, set[int]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)


class LedgerMachine(RuleBasedStateMachine):
    store: Store
    tasks = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.dedup_key = uuid.uuid4().hex
        self.first_post = uuid.uuid4().int % 10**18

    # -- what everything needs

    def alive(self, name: str) -> bool | None:
        return False if any(one.name == name and not one.lives for one in self.world.runners) else None

    def do(self, step: Any, *args: Any, **more: Any) -> Any:
        with self.store.begin() as conn:
            return step(conn, *args, now=self.world.now, **more)

    def rows(self) -> list[Import]:
        with self.store.connect() as conn:
            return ledger.read(conn, ledger.imports.c.dedup_key == self.dedup_key)

    def pick(self, number: int, states: tuple[str, ...]) -> Import:
        rows = sorted((row for row in self.rows() if row.state in states), key=lambda row: row.planned_at)
        assume(rows)
        return rows[number % len(rows)]

    def runner(self, number: int, *, sending: bool) -> Runner:
        able = [one for one in self.world.runners if one.lives and (one.sent is not None) == sending]
        assume(able)
        return able[number % len(able)]

    def renew(self) -> None:
        for one in self.world.runners:
            if one.lives and not one.frozen:
                self.do(leases.renew_all, one.name)

    def in_doubt(self, one: Bought) -> bool:
        """Nobody who could still tell is waiting for the answer."""
        waiting = [run for run in self.world.runners if run.sent == one.import_id and run.lives and not run.frozen]
        return not waiting and self.world.states.get(one.import_id) in ("sending", "ambiguous")

    def serves(self, one: Bought, count: int) -> bool:
        """Whether what was bought is a reason not to buy again without being told to."""
        if one.forgotten:
            return False
        if self.in_doubt(one):
            return True
        if self.world.states[one.import_id] == "sending":
            return one.count >= count
        young = self.world.now - one.at <= REUSE
        return self.world.states[one.import_id] in HELD and young and one.count >= count

    # -- runs

    @rule(count=st.sampled_from([25, 25, 50]), fresh=st.sampled_from([False, False, False, True]))
    def plan(self, count: int, fresh: bool) -> None:
        one = Runner(f"run {len(self.world.runners)} of {self.dedup_key[:8]}")
        reasons = [bought for bought in self.world.bought if self.serves(bought, count)]
        before = {row.import_id: row for row in self.rows()}
        one.ticket = self.do(
            import_planning.plan_import, account="machine", kind="hashtag", hashtag="x", wanted={"hashtag": "x"},
            dedup_key=self.dedup_key, collection="c", namespace="c", library="private", requested=count,
            run_id=one.name, owner=one.name, reuse_after=self.world.now - REUSE, fresh=fresh, alive=self.alive,
        )  # fmt: skip
        self.world.runners.append(one)
        if one.ticket.action == "submit":
            assert fresh or not reasons, "what serves the request already was to be bought again"
            assert one.ticket.requested == count
            rival = [
                row
                for row in before.values()
                if row.state in ("planned", "sending")
                and row.requested >= count
                and row.lease_until is not None
                and row.lease_until > self.world.now
                and self.alive(row.lease_owner or "") is None
            ]
            assert fresh or not rival, "two runs were told to submit the same"
        else:
            assert one.ticket.requested >= count or one.ticket.state == "ambiguous"
            assert not fresh

    @rule(number=st.integers(0, 9), accepted=st.booleans())
    def send(self, number: int, accepted: bool) -> None:
        one = self.runner(number, sending=False)
        assume(one.ticket is not None and one.ticket.action == "submit")
        assert one.ticket is not None
        if self.do(ledger.mark_sending, one.ticket.import_id, owner=one.name, alive=self.alive):
            assert all(
                other.sent != one.ticket.import_id or other.frozen or not other.lives for other in self.world.runners
            )
            one.sent, one.accepted = one.ticket.import_id, accepted
            if accepted:
                row = next(row for row in self.rows() if row.import_id == one.sent)
                self.world.bought.append(Bought(one.sent, row.requested, self.world.now))

    @rule(number=st.integers(0, 9), refusal=st.sampled_from(["again", "never"]))
    def answer(self, number: int, refusal: str) -> None:
        """Also of a run that was frozen and taken for dead: its answer comes late."""
        one = self.runner(number, sending=True)
        import_id, one.sent, one.frozen = one.sent, None, False
        if one.accepted:
            task_id = f"task {next(self.tasks)}"
            if self.do(ledger.mark_submitted, import_id, task_id, owner=one.name):
                latest = [bought for bought in self.world.bought if bought.import_id == import_id][-1]
                # From now on the answer is known, even where somebody had decided otherwise meanwhile.
                latest.forgotten, latest.at = False, self.world.now
                self._supersede(latest)
            else:
                row = next(row for row in self.rows() if row.import_id == import_id)
                assert task_id in (row.note or ""), "a task that was paid for is nowhere written"
        elif refusal == "again":
            self.do(ledger.back_to_planned, import_id, note="busy", owner=one.name)
        else:
            self.do(ledger.mark_failed, import_id, note="no", owner=one.name)

    def _supersede(self, later: Bought) -> None:
        """Doubt about older submissions does not stand in the way once a later one was made on purpose."""
        planned = {row.import_id: row.planned_at for row in self.rows()}
        for one in self.world.bought:
            if planned[one.import_id] < planned[later.import_id]:
                one.forgotten |= self.world.states.get(one.import_id) in ("sending", "ambiguous")

    @rule(number=st.integers(0, 9))
    def lose_the_answer(self, number: int) -> None:
        one = self.runner(number, sending=True)
        import_id, one.sent = one.sent, None
        self.do(ledger.mark_ambiguous, import_id, note="no answer", owner=one.name)

    @rule(number=st.integers(0, 99))
    def crash(self, number: int) -> None:
        living = [one for one in self.world.runners if one.lives]
        assume(living)
        living[number % len(living)].lives = False

    @rule(number=st.integers(0, 9))
    def freeze(self, number: int) -> None:
        """A sender is silent for longer than a lease lasts; the others go on."""
        self.runner(number, sending=True).frozen = True
        self.world.now += timedelta(seconds=20)
        self.renew()

    @rule()
    def recover(self) -> None:
        self.do(ledger.recover_sending, account="machine", alive=self.alive)

    # -- what comes of imports

    @rule(number=st.integers(0, 9), posts=st.sets(st.integers(0, 5), max_size=4))
    def poll(self, number: int, posts: set[int]) -> None:
        row = self.pick(number, HELD)
        urls = [f"https://www.tiktok.com/player/v1/{10**18 + self.first_post + post}" for post in sorted(posts)]
        items = [ItemSeen(f"VI{url[-9:]}", url, "PARSE", parse_post_url(url)) for url in urls]
        result = self.do(import_polls.record_poll, row.import_id, items)
        self.world.listed.setdefault(row.import_id, set()).update(posts)
        assert result.recorded

    @rule(number=st.integers(0, 9), state=st.sampled_from(["complete", "empty"]))
    def finish(self, number: int, state: Any) -> None:
        row = self.pick(number, ("submitted", "collecting"))
        assert self.do(ledger.finish_import, row.import_id, state=state) == ((row.seen > 0) == (state == "complete"))

    @rule(number=st.integers(0, 9))
    def look_again(self, number: int) -> None:
        row = self.pick(number, ("empty",))
        assert self.do(ledger.start_following, row.import_id).state == "collecting"

    @precondition(lambda self: "ambiguous" in self.world.states.values())
    @rule(number=st.integers(0, 9), decision=st.sampled_from(["resubmit", "attach", "drop"]))
    def resolve(self, number: int, decision: Any) -> None:
        row = self.pick(number, ("ambiguous",))
        assert self.do(import_planning.resolve, row.import_id, decision, task_id=f"task {next(self.tasks)}")
        mine = [one for one in self.world.bought if one.import_id == row.import_id]
        for one in mine:
            one.forgotten, one.at = decision != "attach", self.world.now
        if decision == "attach":
            self._supersede(mine[-1] if mine else Bought(row.import_id, row.requested, self.world.now))

    @rule(hours=st.sampled_from([1, 4, 7]))
    def time_passes(self, hours: int) -> None:
        self.world.now += timedelta(hours=hours)
        self.renew()

    # -- what is always so

    @invariant()
    def every_row_makes_sense(self) -> None:
        rows = self.rows()
        for row in rows:
            before = self.world.states.get(row.import_id, "planned")
            assert row.state in IMPORT_STATES
            assert row.state == before or row.state in EDGES[before]
            assert (row.state in HELD) <= (row.task_id is not None and row.submitted_at is not None)
            assert (row.state in ("planned", "sending", "ambiguous")) <= (row.task_id is None)
            assert row.seen == row.new + row.known == len(self.world.listed.get(row.import_id, ()))
            assert (row.state == "complete") <= (row.seen > 0)
            assert (row.state == "empty") <= (row.seen == 0)
            self.world.states[row.import_id] = row.state
        assert sum(row.state in ("planned", "sending") and not row.forced for row in rows) <= 1
        tasks = [row.task_id for row in rows if row.task_id is not None]
        assert len(tasks) == len(set(tasks))


def test_nothing_is_bought_twice_by_itself(store: Store) -> None:
    machine = type("Machine", (LedgerMachine,), {"store": store})
    few = settings(stateful_step_count=25, suppress_health_check=list(HealthCheck), database=None)
    run_state_machine_as_test(machine, settings=few)
