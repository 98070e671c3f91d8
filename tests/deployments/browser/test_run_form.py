"""Manual runs as a person makes them: headless Chromium on the default UI of a server with authentication."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Page, ViewportSize, async_playwright, expect

from deployments.sandbox.server import SandboxServer
from deployments.stack import own_server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
POOL = "run-form"
PICTURES = os.environ.get("TAGTRAIL_TEST_PICTURES")
"""A folder for pictures of what the pages show, for whoever wants to look at them."""

VIEWPORT: ViewportSize = {"width": 1280, "height": 1100}

SHOW_MS = 60_000.0
"""How long a page may take to show something; machines are busy."""

# As root Chromium does not start in a sandbox. No name is looked up: the pages ask for a host of statistics, Chromium
# for hosts of its own; and pages whose requests passed through the test would load everything anew each time.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
QUICK = {
    "TAGTRAIL_IMPORTS_PER_MINUTE": "60",
    "TAGTRAIL_STATUS_PER_SECOND": "50",
    "TAGTRAIL_POLL_SECONDS": "0.2",
    "TAGTRAIL_IMPORT_QUIET_SECONDS": "1",
}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: apt-get install chromium (the run form is tested in it)"
)


@dataclass(frozen=True)
class Site:
    """A server with Tagtrail's deployments, a worker and the sandbox behind it."""

    url: str
    auth_string: str


@pytest.fixture
def site(migrated: Callable[[Path], None], tmp_path: Path) -> Iterator[Site]:
    home, folder = tmp_path / "home", tmp_path / "worker"
    folder.mkdir()
    migrated(home)
    server = own_server.ensure(home, announce=lambda _: None)
    worker = None
    try:
        with SandboxServer(time_scale=60, limits=False) as sandbox, (tmp_path / "worker.log").open("wb") as log:
            env = {**os.environ, **own_server.env_for(server), "TAGTRAIL_HOME": str(home)}
            account = {
                "MEMORIES_API_KEY": "sk-invented-for-tests",
                "MEMORIES_V1_BASE_URL": sandbox.v1_base_url,
                "MEMORIES_V2_BASE_URL": sandbox.v2_base_url,
            }
            setup = [sys.executable, "-m", "deployments.cli.main", "setup", "--work-pool", POOL]
            subprocess.run(setup, env=env | account, cwd=folder, check=True, capture_output=True)
            command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL]
            worker = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**env, **QUICK, "PREFECT_WORKER_QUERY_SECONDS": "1"},
            )  # fmt: skip
            yield Site(server.url, server.auth_string)
    finally:
        if worker is not None:
            worker.terminate()
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        own_server.stop(home)


def in_browser(site: Site, work: Callable[[Page], Awaitable[None]]) -> None:
    """Do something on a page of the UI, logged in.

    In a thread of its own: the driver switches stacks, after which CPython 3.11 may miscount how deep the thread is.
    """

    async def browse() -> None:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=SHOW_MS)
            page = await browser.new_page(viewport=VIEWPORT)
            page.set_default_timeout(SHOW_MS)
            try:
                await page.goto(site.url)
                await page.get_by_placeholder("admin:pass").fill(site.auth_string)
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
        for rest in (1, 2, 4, 8, 0):
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


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_the_run_form_and_the_block_types(site: Site) -> None:
    async def everything(page: Page) -> None:
        runs = await two_runs(page)
        # The worker is at it meanwhile.
        await the_form_refuses(page)
        await the_block_types(page)
        await their_ends(page, *runs)

    in_browser(site, everything)
