"""`tagtrail up --sandbox` in an empty home: four ways to run, Prefect's UI in Chromium, an end without a trace.

One stack serves all tests of this file, in their order. Chromium reaches no other host, and notes what asks for one.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.async_api import Page, ViewportSize, async_playwright, expect
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from blocks.database.engine import open_store
from blocks.outside_words import for_log, for_markdown
from deployments.cli import main as command_line
from deployments.stack import local_stack, own_server
from deployments.stack.local_stack import state_file
from deployments.stack.own_server import ServerInfo
from deployments.stack.process import find_stack, start_time
from flows.steps.prefect_side.artifacts import markdown
from flows.steps.run.summary import ImportSummary, RunSummary
from tests.conftest import OURS
from tests.waiting import READY_SECONDS, free_ports, until

pytestmark = pytest.mark.stack

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: apt-get install chromium (Prefect's UI is looked at in it)"
)
PICTURES = os.environ.get("TAGTRAIL_TEST_PICTURES")
"""A folder for pictures of what the pages show, for whoever wants to look at them."""

VIEWPORT: ViewportSize = {"width": 1280, "height": 1100}
# As root Chromium does not start in a sandbox. No name is looked up: the pages ask for a host of statistics, Chromium
# for hosts of its own; and pages whose requests passed through the test would load everything anew each time.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip

SHOW_MS = 240_000.0
"""Generous: machines are loaded. What is waited for ends the wait."""

COMMAND = [sys.executable, "-m", "deployments.cli.main"]
POSTS = {"byclock": 3, "byhand": 4, "byevent": 5, "bycallback": 6}

FOREIGN = "foreign.example"

WORDS = (
    f'busy ![](https://{FOREIGN}/md.png) <img src="https://{FOREIGN}/html.png"> '
    f'<video poster="//{FOREIGN}/poster.png"></video> <style>@import "https://{FOREIGN}/x.css"</style> '
    f"![a][b] [click](https://{FOREIGN}/link) https://{FOREIGN}/bare www.{FOREIGN} \x1b[31m\u202e | # end\n\n"
    f"![](https://{FOREIGN}/line.png)\n\n[b]: https://{FOREIGN}/ref.png\n\n```mermaid\ngraph TD\n```"
)


@dataclass(frozen=True)
class Up:
    """The stack: the process of `tagtrail up`, what it says, and where its parts are."""

    process: subprocess.Popen[bytes]
    home: Path
    said: Path
    ports: list[int]

    @property
    def server(self) -> ServerInfo:
        found = own_server.running(self.home)
        assert found is not None
        return found

    @property
    def told(self) -> str:
        return self.said.read_text()


@pytest.fixture(scope="module")
def up(migrated_prefect: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    home, said, ports = folder / "home", folder / "said", free_ports(3)
    home.mkdir(mode=0o700)
    shutil.copytree(migrated_prefect, home / "prefect")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    # Its own one, for time that runs 60 times as fast, is 15 s: too short for a busy machine.
    environ |= {"TAGTRAIL_HOME": str(home), "TAGTRAIL_IMPORT_DEADLINE_SECONDS": "600", "DO_NOT_TRACK": "1"}
    named = zip(("--sandbox-port", "--receiver-port", "--server-port"), map(str, ports), strict=True)
    command = [*COMMAND, "up", "--sandbox", "--time-scale", "60", *(word for pair in named for word in pair)]
    with said.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environ, stderr=output, stdin=subprocess.DEVNULL)
    stack = Up(process, home, said, ports)
    try:
        until(lambda: process.poll() is not None or "Ctrl-C ends" in stack.told, "the stack")
        assert process.poll() is None, stack.told
        yield stack
    finally:
        local_stack.end(home, lambda _: None)
        own_server.stop(home)
        process.kill()
        process.wait()


async def test_runs_start_in_four_ways(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    server = up.server
    assert server.port == up.ports[2]
    assert server.auth_string not in up.told
    assert str(own_server.auth_file(up.home)) in up.told
    with temporary_settings({PREFECT_API_URL: server.api_url, PREFECT_API_AUTH_STRING: server.auth_string}):
        stop_clock = await start_runs()
        until(lambda: stored(up.home) == POSTS, "the posts of all four")
        await stop_clock()
        assert await how_they_began() == {"byclock": "SCHEDULE", "byevent": "AUTOMATION"}

    monkeypatch.setenv("TAGTRAIL_HOME", str(up.home))
    examined = subprocess.run(  # noqa: ASYNC221
        [*COMMAND, "doctor", "--json"], capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL
    )
    checks = {check["name"]: check for check in json.loads(examined.stdout)["checks"] if check["name"] != "rooms"}
    assert [check for check in checks.values() if check["verdict"] != "ok"] == [], "no false alarm"
    assert checks.keys() >= {"deployments", "automations", "work pool tagtrail", "callback", "key"}


async def start_runs() -> Callable[[], Awaitable[None]]:
    """One run by each way; each has a hashtag of its own. Gives what ends the schedule."""
    async with get_client() as client:
        daily = await client.read_deployment_by_name("track-hashtags/daily")
        # The clock is the server's; what comes after the first run finds nothing new.
        often = IntervalSchedule(interval=timedelta(minutes=2), anchor_date=datetime.now(UTC) + timedelta(seconds=10))
        parameters = {"hashtags": ["byclock"], "posts_per_hashtag": POSTS["byclock"]}
        schedule = DeploymentScheduleCreate(schedule=often, active=True, parameters=parameters, slug="often")
        [made] = await client.create_deployment_schedules(daily.id, [schedule])

        manual = await client.read_deployment_by_name("track-hashtags/manual")
        request: dict[str, Any] = {"hashtags": ["byhand"], "posts_per_hashtag": POSTS["byhand"]}
        await client.create_flow_run_from_deployment(manual.id, parameters=request)
        request = {"hashtags": ["bycallback"], "posts_per_hashtag": POSTS["bycallback"], "wait": False}
        await client.create_flow_run_from_deployment(manual.id, parameters=request)

        event = {
            "event": "tagtrail.track.requested",
            "resource": {"prefect.resource.id": "tests.campaign.7"},
            "payload": {"hashtags": ["byevent"], "posts_per_hashtag": POSTS["byevent"]},
            "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "id": "5d0c5c1e-2a3d-4d0f-9a57-7461677472a1",
        }
        assert (await client._client.post("/events", json=[event])).status_code == 204

    async def stop_clock() -> None:
        async with get_client() as client:
            await client.update_deployment_schedule(daily.id, made.id, active=False)

    return stop_clock


async def how_they_began() -> dict[str, str]:
    """What made those runs that nobody made by hand, by their hashtags."""
    async with get_client() as client:
        found = {}
        for one in await client.read_flow_runs(limit=200):
            tags = one.parameters.get("hashtags") or [""]
            if tags[0] in ("byclock", "byevent") and one.created_by is not None:
                found[tags[0]] = one.created_by.type
        return found


def stored(home: Path) -> dict[str, int]:
    """Enriched posts by the hashtag whose import found them."""
    if not (home / "tagtrail.db").exists():
        return {}
    with closing(open_store(f"sqlite:///{home / 'tagtrail.db'}", create=True)) as store, store.connect() as conn:
        rows = conn.exec_driver_sql(
            "SELECT imports.hashtag, count(DISTINCT posts.post_id) FROM posts"
            " JOIN import_items ON import_items.platform = posts.platform AND import_items.post_id = posts.post_id"
            " JOIN imports ON imports.import_id = import_items.import_id"
            " WHERE posts.status = 'enriched' GROUP BY imports.hashtag"
        )
        return dict(rows.all())  # type: ignore[arg-type]


def in_browser(up: Up, work: Callable[[Page], Awaitable[None]]) -> None:
    """Do something on a page of the UI, logged in.

    In a thread of its own: the driver switches stacks, after which CPython 3.11 may miscount how deep the thread is.
    """

    async def browse() -> None:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=SHOW_MS)
            page = await browser.new_page(viewport=VIEWPORT)
            page.set_default_timeout(SHOW_MS)
            try:
                await page.goto(up.server.url)
                await page.get_by_placeholder("admin:pass").fill(up.server.auth_string)
                await page.keyboard.press("Enter")
                await page.wait_for_url("**/v2/dashboard**")
                await work(page)
            except Exception as error:
                await picture(page, "failed")
                error.add_note(f"{page.url} showed:\n{await page.locator('body').inner_text()}")
                raise
            finally:
                await browser.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, browse()).result()


class RunForm:
    """The form of a deployment's manual run."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.count = page.locator("input[type=number]").first

    async def open(self, flow: str, deployment: str) -> None:
        page = self.page
        await page.get_by_role("link", name="Deployments", exact=True).first.click()
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=flow, exact=True))
        await row.get_by_role("link", name=deployment, exact=True).click()
        await page.get_by_role("button", name="Run", exact=True).click()
        await page.get_by_role("menuitem", name="Custom run").click()
        # The page comes first, the parameters after it.
        await expect(self.count).to_have_value("25", timeout=SHOW_MS)

    async def fill(self, name: str, *hashtags: str, posts: int) -> None:
        await self.page.locator("input[name=name]").fill(name)
        boxes = self.page.locator("textarea")
        for at, hashtag in enumerate(hashtags):
            await self.page.get_by_role("button", name="Add item").click()
            await boxes.nth(at).fill(hashtag)
        await self.count.fill(str(posts))

    async def submit(self) -> None:
        await self.page.get_by_role("button", name="Submit").click()

    async def submit_run(self) -> str:
        """Submit what the server takes; gives the address of the run's page.

        A server on SQLite answers 503 where two of its writers meet; a person presses the button again.
        """
        for rest in (1, 2, 4, 8, 16, 32, 64, 0):
            async with self.page.expect_response(re.compile("/create_flow_run$")) as answered:
                await self.submit()
            answer = await answered.value
            if answer.status != 503:
                break
            await asyncio.sleep(rest)
        assert answer.status == 201, await answer.text()
        await self.page.wait_for_url("**tab=Runs**")
        return f"{self.page.url.partition('/v2/')[0]}/v2/runs/flow-run/{(await answer.json())['id']}"


async def shown(page: Page, text: str | re.Pattern[str]) -> None:
    await expect(page.get_by_text(text).first).to_be_visible(timeout=SHOW_MS)


async def ended(page: Page, state: str) -> None:
    badge = page.get_by_text(re.compile("^(Completed|Failed|Crashed|Cancelled)$")).first
    await expect(badge).to_have_text(state, timeout=SHOW_MS)


async def picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.screenshot(path=f"{PICTURES}/{name}.png")


async def the_form_refuses(page: Page) -> None:
    form = RunForm(page)
    await form.open("track-hashtags", "manual")
    labels = await page.locator("form label").all_inner_texts()
    named = [label.split()[0] for label in labels if label.split()]
    wanted = ["hashtags", "posts_per_hashtag", "channel", "collection"]
    assert [name for name in named if name in wanted] == wanted
    await shown(page, "What to follow, with or without the leading #.")

    # A count of 0: the browser says so, beside the field.
    await form.fill("refused", "dior", posts=0)
    await form.submit()
    said = await form.count.evaluate("field => field.validationMessage")
    assert said == "Value must be greater than or equal to 1."
    await form.count.fill("6")

    # A list that was filled and then emptied.
    await page.get_by_role("button", name="Open menu").nth(1).click()
    await page.get_by_role("menuitem", name="Delete").click()
    await shown(page, "No items in this list")
    await form.submit()
    await shown(page, re.compile("'hashtags' is a required property"))
    await picture(page, "form-emptied")

    # A box that nothing was written into.
    await page.get_by_role("button", name="Add item").click()
    await form.submit()
    await shown(page, re.compile("None is not of type 'string'"))


async def two_runs(page: Page) -> tuple[str, str]:
    form = RunForm(page)
    await form.open("track-hashtags", "manual")
    await form.fill("by-hand", "LVMH", "dior", posts=6)
    await page.mouse.move(0, 0)
    await picture(page, "run-form")
    by_hand = await form.submit_run()
    await form.open("track-hashtags", "manual")
    await form.fill("with-a-space", "lvmh paris", posts=3)
    return by_hand, await form.submit_run()


async def their_ends(page: Page, by_hand: str, with_a_space: str) -> None:
    await page.goto(by_hand)
    await ended(page, "Completed")
    await picture(page, "run")
    await page.get_by_role("tab", name="Artifacts").click()
    await shown(page, "12 posts: 12 enriched; about 0.24 USD")
    await shown(page, "Posts settled, of those found so far.")
    await picture(page, "artifacts")
    await page.get_by_role("link", name=re.compile("^MARKDOWN|track-hashtags-default")).first.click()
    await page.locator("a[href*='/artifacts/artifact/']").first.click()
    for cell in ("0.24", "#LVMH", "#dior", "submitted", "complete"):
        await expect(page.get_by_role("cell", name=re.compile(f"^{cell}$", re.I)).first).to_be_visible(timeout=SHOW_MS)
    await shown(page, re.compile("a sample, not a census"))
    await picture(page, "summary")

    # A hashtag with a space: the run was refused before anything was sent, and says why.
    await page.goto(with_a_space)
    await ended(page, "Failed")
    await page.get_by_role("tab", name="Details").click()
    await shown(page, 'the hashtag "lvmh paris" holds a space; give one word, or several hashtags')
    await picture(page, "refused")


async def the_block_types(page: Page) -> None:
    for slug, title in (
        ("memories-credentials", "Memories.ai Credentials"),
        ("tagtrail-database", "Tagtrail Database"),
    ):
        await page.goto(page.url.partition("/v2/")[0] + f"/v2/blocks/catalog/{slug}")
        await shown(page, title)
        await shown(page, "Example")
        await expect(page.get_by_role("link", name="Documentation").first).to_have_attribute(
            "href", re.compile("https"), timeout=SHOW_MS
        )
        assert await page.locator("img[src^='https://']").count() >= 1
        await picture(page, f"block-{slug}")


@needs_chromium
def test_the_run_form_and_the_block_types(up: Up) -> None:
    async def everything(page: Page) -> None:
        runs = await two_runs(page)
        # The worker is at it meanwhile.
        await the_form_refuses(page)
        await the_block_types(page)
        await their_ends(page, *runs)

    in_browser(up, everything)


def summary() -> RunSummary:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    one = ImportSummary(
        import_id="i", task_id="t", kind="hashtag", hashtag=WORDS, how="submitted", state="failed", requested=1,
        seen=0, new=0, known=0, planned_at=now, note=WORDS,
    )  # fmt: skip
    return RunSummary(
        run_id="r", flow="track-hashtags", outcome="failed", message=for_log(f"failed: {WORDS}"), imports=[one],
        failures={WORDS: 1}, notes=[WORDS], started_at=now, finished_at=now,
    )  # fmt: skip


def kept(server: ServerInfo) -> dict[str, str]:
    """Artifacts and a failed run with such words on the server; their pages."""
    # Prefect's own client asks again where a server that has just begun says 503, as its database is locked.
    with SyncPrefectClient(f"{server.url}/api", auth_string=server.auth_string) as api:

        def make(path: Literal["/flows/", "/flow_runs/", "/artifacts/"], **fields: object) -> str:
            return str(api.request("POST", path, json=fields).json()["id"])

        ours = summary()
        shown = {"data": markdown(ours), "description": for_markdown(ours.message)}
        flow = make("/flows/", name="track-hashtags")
        run = make("/flow_runs/", flow_id=flow, state={"type": "FAILED", "name": "Failed", "message": ours.message})
        line = {"name": "prefect.flow_runs", "level": 40, "message": for_log(WORDS), "flow_run_id": run}
        api.create_logs([line | {"timestamp": "2026-11-20T12:00:00Z"}])
        harmless = make("/artifacts/", key="harmless", type="markdown", flow_run_id=run, **shown)
        harmful = make("/artifacts/", key="harmful", type="markdown", data=WORDS, description=WORDS)
    return {
        "harmless": f"artifacts/artifact/{harmless}",
        "key": "artifacts/key/harmless",
        "run": f"runs/flow-run/{run}",
        "artifacts": f"runs/flow-run/{run}?tab=Artifacts",
        "harmful": f"artifacts/artifact/{harmful}",
    }


async def asked_for(page: Page, pages: dict[str, str]) -> dict[str, set[str]]:
    """The foreign addresses that each page asked for, and the links that it shows, in the default UI."""
    foreign: set[str] = set()
    page.on("request", lambda request: foreign.add(request.url) if is_foreign(request.url) else None)
    found: dict[str, set[str]] = {}
    for name, path in pages.items():
        foreign.clear()
        await page.goto(f"{page.url.partition('/v2/')[0]}/v2/{path}")
        await is_shown(page)
        links = await page.locator(f"a[href*='{FOREIGN}'], img[src*='{FOREIGN}']").count()
        found[name] = {*foreign, *([f"{links} links and pictures"] if links else [])}
        await picture(page, f"words-{name}")
    return found


async def is_shown(page: Page) -> None:
    """The words are there, and what they ask for has been asked for."""
    await expect(page.get_by_text("busy").first).to_be_visible(timeout=SHOW_MS)
    await page.wait_for_load_state("networkidle")


def is_foreign(url: str) -> bool:
    return urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname != "127.0.0.1"


@needs_chromium
def test_no_page_asks_for_what_words_name(up: Up) -> None:
    pages, found = kept(up.server), {}

    async def look(page: Page) -> None:
        found.update(await asked_for(page, pages))

    in_browser(up, look)
    # Prefect's UI asks for a host of statistics, whatever it shows.
    ours = {name: {one for one in asked if "://" not in one or FOREIGN in one} for name, asked in found.items()}
    print("foreign requests:", found)
    # Unchanged, the words load pictures: the browser would have noted it.
    assert {f"https://{FOREIGN}/md.png", f"https://{FOREIGN}/html.png"} <= ours.pop("harmful")
    assert not any(ours.values())


def test_ctrl_c_ends_it_without_a_trace(
    up: Up, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    [worker] = [one for one in psutil.Process(up.process.pid).children() if "worker" in one.cmdline()]
    worker.kill()
    until(lambda: "the worker ended by itself" in up.told, "a word about the worker's death")
    assert up.process.poll() is None

    monkeypatch.setenv("TAGTRAIL_HOME", str(up.home))
    capfd.readouterr()
    assert command_line.call(["up", "--sandbox"]) == 0
    assert f"runs already (process {up.process.pid})" in capfd.readouterr().err
    assert command_line.call(["up"]) == 2
    assert "on the sandbox; `tagtrail down` ends it" in capfd.readouterr().err

    members_of_stack = {*(one.pid for one in find_stack(up.home)), up.server.pid}
    assert len(members_of_stack) >= 4
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(READY_SECONDS) == 0, up.told
    assert find_stack(up.home) == set()
    # Whoever is their parent by now may not have looked yet: a zombie is over too.
    assert not [pid for pid in members_of_stack if start_time(pid) is not None]
    assert state_file(up.home).read() == {}
    for port in up.ports:
        socket.create_server(("127.0.0.1", port)).close()
