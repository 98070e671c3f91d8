"""Enrich and store as a plain script does it, one of the contestants of `enrich.py`: a client, a gate, row by row.

No limit, no budget, no retry, no lease, one form of payload: 40 lines for the same calls.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time

import httpx

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE raw_payloads (url TEXT PRIMARY KEY, body TEXT, fetched_at REAL);
CREATE TABLE posts (post_id TEXT PRIMARY KEY, url TEXT, username TEXT, caption TEXT, views INTEGER, likes INTEGER);
CREATE TABLE snapshots (post_id TEXT, observed_at REAL, views INTEGER, likes INTEGER);
"""


async def enrich(urls: list[str], endpoint: str, key: str, database: str, in_flight: int) -> float:
    """Buy and store metadata of all these posts; the seconds that it took."""
    db = sqlite3.connect(database)
    db.executescript(SCHEMA)
    gate = asyncio.Semaphore(in_flight)

    async with httpx.AsyncClient(headers={"Authorization": key}, timeout=60) as client:

        async def one(url: str) -> None:
            async with gate:
                answer = await client.post(endpoint, json={"video_url": url, "channel": "apify"})
            body = answer.raise_for_status().json()
            store(db, url, body["data"])

        began = time.perf_counter()
        await asyncio.gather(*(one(url) for url in urls))
        return time.perf_counter() - began


def store(db: sqlite3.Connection, url: str, data: dict[str, object]) -> None:
    """The raw payload first, then its rows, each kept before the next one begins."""
    now = time.time()
    db.execute("INSERT OR REPLACE INTO raw_payloads VALUES (?, ?, ?)", (url, json.dumps(data), now))
    db.commit()
    post = data["data"]["xdt_shortcode_media"]  # type: ignore[index]
    views, likes = post.get("video_view_count"), post["edge_media_preview_like"]["count"]
    captions = post["edge_media_to_caption"]["edges"]
    row = (post["id"], url, post["owner"]["username"], captions[0]["node"]["text"] if captions else None, views, likes)
    db.execute("INSERT OR REPLACE INTO posts VALUES (?, ?, ?, ?, ?, ?)", row)
    db.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?)", (post["id"], now, views, likes))
    db.commit()
