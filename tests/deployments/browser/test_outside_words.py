"""Words from outside in Prefect's UI: headless Chromium, which reaches no other host and notes what asks for one."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, async_playwright, expect
from prefect.client.orchestration import SyncPrefectClient

from blocks.outside_words import for_log, for_markdown
from deployments.stack import own_server
from deployments.stack.own_server import ServerInfo
from flows.steps.prefect_side.artifacts import markdown
from flows.steps.run.summary import ImportSummary, RunSummary

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SHOW_MS = 60_000.0
PICTURES = os.environ.get("TAGTRAIL_TEST_PICTURES")
FOREIGN = "foreign.example"

# As in the test of the run form: no name is looked up, so that nothing leaves this machine.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip

WORDS = (
    f'busy ![](https://{FOREIGN}/md.png) <img src="https://{FOREIGN}/html.png"> '
    f'<video poster="//{FOREIGN}/poster.png"></video> <style>@import "https://{FOREIGN}/x.css"</style> '
    f"![a][b] [click](https://{FOREIGN}/link) https://{FOREIGN}/bare www.{FOREIGN} \x1b[31m\u202e | # end\n\n"
    f"![](https://{FOREIGN}/line.png)\n\n[b]: https://{FOREIGN}/ref.png\n\n```mermaid\ngraph TD\n```"
)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: apt-get install chromium (artifacts are looked at in it)"
)


@pytest.fixture
def server(migrated: Callable[[Path], None], tmp_path: Path) -> Iterator[ServerInfo]:
    home = tmp_path / "home"
    migrated(home)
    try:
        yield own_server.ensure(home, announce=lambda _: None)
    finally:
        own_server.stop(home)


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


async def asked_for(server: ServerInfo, pages: dict[str, str]) -> dict[str, set[str]]:
    """The foreign addresses that each page asked for, and the links that it shows, in the default UI."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=SHOW_MS)
        page = await browser.new_page(viewport={"width": 1280, "height": 1100})
        page.set_default_timeout(SHOW_MS)
        foreign: set[str] = set()
        page.on("request", lambda request: foreign.add(request.url) if is_foreign(request.url) else None)
        found: dict[str, set[str]] = {}
        try:
            await page.goto(server.url)
            await page.get_by_placeholder("admin:pass").fill(server.auth_string)
            await page.keyboard.press("Enter")
            await page.wait_for_url("**/v2/dashboard**")
            for name, path in pages.items():
                foreign.clear()
                await page.goto(f"{server.url}/v2/{path}")
                await is_shown(page)
                links = await page.locator(f"a[href*='{FOREIGN}'], img[src*='{FOREIGN}']").count()
                found[name] = {*foreign, *([f"{links} links and pictures"] if links else [])}
                if PICTURES:
                    await page.screenshot(path=f"{PICTURES}/words-{name}.png")
        except Exception as error:
            error.add_note(f"{page.url} showed:\n{await page.locator('body').inner_text()}")
            raise
        finally:
            await browser.close()
    return found


async def is_shown(page: Page) -> None:
    """The words are there, and what they ask for has been asked for."""
    await expect(page.get_by_text("busy").first).to_be_visible(timeout=SHOW_MS)
    await page.wait_for_load_state("networkidle")


def is_foreign(url: str) -> bool:
    return urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname != "127.0.0.1"


@pytest.mark.alone
@pytest.mark.timeout(300)
def test_no_page_asks_for_what_words_name(server: ServerInfo) -> None:
    pages = kept(server)
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(asyncio.run, asked_for(server, pages)).result()
    # Prefect's UI asks for a host of statistics, whatever it shows.
    ours = {name: {one for one in asked if "://" not in one or FOREIGN in one} for name, asked in found.items()}
    print("foreign requests:", found)
    # Unchanged, the words load pictures: the browser would have noted it.
    assert {f"https://{FOREIGN}/md.png", f"https://{FOREIGN}/html.png"} <= ours.pop("harmful")
    assert not any(ours.values())
