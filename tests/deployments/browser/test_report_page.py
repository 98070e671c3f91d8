"""The report in a browser, from a file and without a network: it draws, opens receipts, and asks nothing of anybody."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, ViewportSize, async_playwright

from blocks.database.engine import Store
from blocks.posts.snapshot_plan import SnapshotPlan
from deployments.cli import demo_month
from flows.reporting.figures import gather
from flows.reporting.page import render, write
from flows.reporting.period import Period

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PICTURES = os.environ.get("TAGTRAIL_TEST_PICTURES")
END = datetime(2026, 11, 30, 6, tzinfo=UTC)
READY_MS = 120_000.0
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]  # fmt: skip
WIDTHS: dict[str, tuple[ViewportSize, Any]] = {
    "wide": ({"width": 1400, "height": 900}, "light"),
    "narrow": ({"width": 390, "height": 844}, "light"),
    "dark": ({"width": 1400, "height": 900}, "dark"),
}

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium here: apt-get install chromium (the report is tested in it)"
    ),
]


@pytest.fixture
def report(sqlite_store: Store, tmp_path: Path) -> Path:
    plan = SnapshotPlan()
    demo_month.simulate(sqlite_store, plan, END, days=14)
    period = Period(END - timedelta(days=7), END, END)
    target = tmp_path / "report.html"
    write(render(gather(sqlite_store, collection=None, hashtag=None, period=period, plan=plan)), target)
    return target


async def opened(browser: Browser, report: Path, name: str, asked: list[str], said: list[str]) -> Page:
    viewport, scheme = WIDTHS[name]
    page = await browser.new_page(viewport=viewport, color_scheme=scheme)
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    await page.goto(report.as_uri())
    await page.wait_for_selector("html[data-ready]", state="attached", timeout=READY_MS)
    return page


async def test_the_report_draws_and_opens_receipts_and_asks_nothing_of_anybody(report: Path) -> None:
    asked: list[str] = []
    said: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for name in WIDTHS:
            page = await opened(browser, report, name, asked, said)
            assert await page.locator(".js-plotly-plot .main-svg").count() >= 3
            # Nothing has to be scrolled sideways.
            assert await page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[name][0]["width"]
            if PICTURES:
                await page.screenshot(path=Path(PICTURES) / f"report-{name}.png", full_page=True)
            await page.close()
        page = await opened(browser, report, "wide", asked, said)
        # By keyboard alone: the button that has the focus opens its posts, Escape closes them.
        button = page.locator("button.receipt").nth(1)
        await button.focus()
        await page.keyboard.press("Enter")
        rows = page.locator("#receipt-rows tr")
        assert await rows.count() == int(await button.inner_text())
        await page.keyboard.press("Escape")
        assert not await page.locator("#receipt").is_visible()
        chosen = page.locator("select[id$=growth-metric]")
        await chosen.select_option("likes")
        shown = page.locator("table[id$=growth-table] tbody:not([hidden])")
        assert {await body.get_attribute("data-metric") for body in await shown.all()} == {"likes"}
        await browser.close()
    assert {url.split(":", 1)[0] for url in asked} <= {"file", "blob", "data"}
    assert said == []
