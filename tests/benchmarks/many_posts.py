"""Fills a database with a year of invented posts, by SQL alone: a million posts and six million snapshots in minutes.

    python tests/benchmarks/many_posts.py --url sqlite:////tmp/many.db [--posts 1000000]

200 hashtags in five collections are imported every day and the posts measured by the snapshot plan; one measurement
in 75 was missed, so that about one post in a thousand is due at any time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from blocks.database.engine import Store, open_store, upgrade
from blocks.posts.snapshot_plan import SnapshotPlan

POSTS_PER_IMPORT = 14
HASHTAGS = 200
COLLECTIONS = 5
YEAR_SECONDS = 365 * 86_400


def fill(store: Store, posts: int, now: datetime) -> Iterator[tuple[str, float]]:
    """Fill an empty database as if `now` were the end of the year; what was written, and its seconds, one by one."""
    for name, statement in _statements(posts, int(now.timestamp()), lite=store.is_sqlite):
        began = time.monotonic()
        with store.begin() as conn:
            conn.exec_driver_sql(statement if store.is_sqlite else statement.replace("%", "%%"))
        yield name, time.monotonic() - began
    if not store.is_sqlite:
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            conn.exec_driver_sql("VACUUM ANALYZE")


def _statements(posts: int, now: int, *, lite: bool) -> list[tuple[str, str]]:
    def moment(seconds: str) -> str:
        text = f"strftime('%Y-%m-%d %H:%M:%S', {seconds}, 'unixepoch') || '.000000'"
        return text if lite else f"to_timestamp({seconds})"

    def padded(number: str, digits: int) -> str:
        return (
            f"substr('{'0' * digits}' || CAST({number} AS text), -{digits})"
            if lite
            else (f"lpad(CAST({number} AS text), {digits}, '0')")
        )

    def numbers(count: int) -> str:
        if lite:
            steps = f"SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {count - 1}"
            return f"(WITH RECURSIVE s(n) AS ({steps}) SELECT n FROM s)"
        return f"(SELECT CAST(n AS bigint) AS n FROM generate_series(0, {count - 1}) AS n)"

    imports = -(-posts // POSTS_PER_IMPORT)
    begun = now - YEAR_SECONDS
    posted = f"({begun} + n * {YEAR_SECONDS} / {posts})"
    seen = f"({posted} + 600 + n % 1200)"
    # Ids grow with time, as those of both platforms do.
    platform = "CASE WHEN n % 10 < 7 THEN 'tiktok' ELSE 'instagram' END"
    post_id = f"CASE WHEN n % 10 < 7 THEN '75' ELSE '35' END || {padded('n', 17)}"
    sha = padded("n", 64)
    yes, no = ("1", "0") if lite else ("true", "false")
    ages = SnapshotPlan().ages
    of_ages = " UNION ALL ".join(f"SELECT {at} AS step, {age} AS age" for at, age in enumerate(ages))
    import_id = padded("n", 36)
    planned = f"({begun} + n * {YEAR_SECONDS} / {imports} + 500)"
    tags = f"""'["tag' || CAST(n / {POSTS_PER_IMPORT} % {HASHTAGS} AS text) || '","invented"]'"""
    tags = tags if lite else f"CAST({tags} AS json)"
    counts = "plays, likes, comments, shares, saves, author_followers"
    reasons = """'{"views":"not_in_payload"}'"""
    measured = f"""(SELECT n, step, age, {posted} + age + 60 + n % 300 AS at FROM {numbers(posts)} p, ({of_ages}) a
        WHERE (n * 7 + step) % 75 <> 0 AND n % 50 <> 0)"""
    return [
        ("runs", f"""INSERT INTO runs (run_id, flow, account, collection, started_at, finished_at, outcome)
            SELECT {padded("n", 36)}, CASE WHEN n % 2 = 0 THEN 'track-hashtags' ELSE 'refresh-metrics' END, 'a',
              CASE WHEN n % 2 = 0 THEN 'c' || CAST(n / 2 % {COLLECTIONS} AS text) END,
              {moment(f"{begun} + n * 8640")}, {moment(f"{begun} + n * 8640 + 900")}, 'done'
            FROM {numbers(3650)} s"""),
        ("imports", f"""INSERT INTO imports (import_id, account, kind, hashtag, wish, collection, namespace, library,
              requested, state, planned_at, submitted_at, finished_at, seen, new, known, run_id)
            SELECT {import_id}, 'a', 'hashtag', 'tag' || CAST(n % {HASHTAGS} AS text), {sha},
              'c' || CAST(n % {COLLECTIONS} AS text), 'c', 'private', 25, 'complete',
              {moment(planned)}, {moment(planned)}, {moment(f"{planned} + 300")}, 28, 14, 14,
              {padded(f"n % {COLLECTIONS} * 2", 36)}
            FROM {numbers(imports)} s"""),
        ("run_imports", """INSERT INTO run_imports (run_id, import_id, how)
            SELECT run_id, import_id, 'submitted' FROM imports"""),
        ("posts", f"""INSERT INTO posts (platform, post_id, status, shortcode, url, source_url, author_id,
              author_username, author_name, author_verified, caption, hashtags, mentions, posted_at, media_type,
              duration_seconds, width, height, audio_id, audio_title, {counts}, null_reasons, extra, channel,
              first_seen_at, last_seen_at, enriched_at, observed_at, resting_since, run_id, parser_version, raw_sha256)
            SELECT {platform}, {post_id}, CASE WHEN n % 50 = 0 THEN 'gone' ELSE 'enriched' END, {padded("n", 11)},
              'https://www.tiktok.com/@maker' || CAST(n % 50000 AS text) || '/video/' || {post_id},
              'https://www.tiktok.com/@maker' || CAST(n % 50000 AS text) || '/video/' || {post_id},
              {padded("n % 50000", 12)}, 'maker' || CAST(n % 50000 AS text), 'Maker ' || CAST(n % 50000 AS text), {no},
              'Caption ' || CAST(n AS text) || ' of an invented post, about as long as captions are #tag'
                || CAST(n / {POSTS_PER_IMPORT} % {HASHTAGS} AS text) || ' #invented',
              {tags}, '[]', {moment(posted)},
              'video', 12.5 + n % 60, 1080, 1920, {padded("n % 9000", 19)}, 'original sound',
              n * 7919 % 1000003 * 17, n * 7919 % 1000003, n % 977, n % 613, n % 409, n % 50000 * 11,
              {reasons}, '{{"region":"XX"}}', 'apify', {moment(seen)}, {moment(seen)},
              {moment(f"{seen} + 30")}, {moment(f"{seen} + 30")},
              CASE WHEN n % 8 = 3 AND {posted} < {now - 8 * 86_400} THEN {moment(f"{posted} + 605000")} END,
              {padded("n % 1825 * 2", 36)}, '1', {sha}
            FROM {numbers(posts)} s"""),
        ("snapshots", f"""INSERT INTO snapshots (platform, post_id, observed_at, age_seconds, target_age,
              lateness_seconds, {counts}, null_reasons, channel, run_id, parser_version, raw_sha256)
            SELECT {platform}, {post_id}, {moment("at")}, age + 60 + n % 300, age, 60 + n % 300,
              n * 7919 % 1000003 * (11 + step), n * 7919 % 1000003, n % 977, n % 613, n % 409, n % 50000 * 11,
              {reasons}, 'apify', {padded("n % 1825 * 2 + 1", 36)}, '1', {sha}
            FROM {measured} m WHERE at < {now}"""),
        ("first snapshots", f"""INSERT INTO snapshots (platform, post_id, observed_at, age_seconds, {counts},
              null_reasons, channel, run_id, parser_version, raw_sha256)
            SELECT {platform}, {post_id}, {moment(f"{seen} + 30")}, 630 + n % 1200,
              n * 7919 % 1000003 * 9, n * 7919 % 1000003, n % 977, n % 613, n % 409, n % 50000 * 11,
              {reasons}, 'apify', {padded("n % 1825 * 2", 36)}, '1', {sha}
            FROM {numbers(posts)} s WHERE {seen} + 30 < {now} AND n % 3 = 0"""),
        ("import_items", f"""INSERT INTO import_items (import_id, item_key, source_url, item_status, platform,
              post_id, was_new, first_seen_at, last_seen_at)
            SELECT {padded(f"n / {POSTS_PER_IMPORT} + again", 36)}, {platform} || ':' || {post_id},
              'https://www.tiktok.com/@maker' || CAST(n % 50000 AS text) || '/video/' || {post_id}, 'PARSE',
              {platform}, {post_id}, CASE WHEN again = 0 THEN {yes} ELSE {no} END,
              {moment(f"{seen} + again * 432")}, {moment(f"{seen} + again * 432")}
            FROM {numbers(posts)} p, (SELECT 0 AS again UNION ALL SELECT {HASHTAGS}) a
            WHERE n / {POSTS_PER_IMPORT} + again < {imports}"""),
        ("work", f"""INSERT INTO work (platform, post_id, purpose, state, attempts, updated_at)
            SELECT {platform}, {post_id}, 'enrich', 'done', 1, {moment(f"{seen} + 30")} FROM {numbers(posts)} s"""),
        ("work of refreshes", f"""INSERT INTO work (platform, post_id, purpose, state, attempts, updated_at)
            SELECT {platform}, {post_id}, 'refresh:' || CAST(age AS text), 'done', 1, {moment("at")}
            FROM {measured} m WHERE at < {now} AND step >= 3"""),
        ("run_posts", f"""INSERT INTO run_posts (run_id, platform, post_id, purpose)
            SELECT {padded("n % 1825 * 2 + 1", 36)}, {platform}, {post_id}, 'refresh:' || CAST(age AS text)
            FROM {measured} m WHERE at < {now} AND step = 3"""),
        ("given posts", f"""INSERT INTO run_posts (run_id, platform, post_id, purpose)
            SELECT {padded("n % 1825 * 2", 36)}, {platform}, {post_id}, 'enrich' FROM {numbers(posts)} s
            WHERE n % 10 = 4"""),
        ("spend", f"""INSERT INTO spend (spend_id, account, day, run_id, collection, kind, platform, channel, calls,
              reserved_micros, spent_micros, reserved_at, settled_at)
            SELECT {padded("n", 36)}, 'a', substr(CAST({moment(seen)} AS text), 1, 10), {padded("n % 1825 * 2", 36)},
              'c' || CAST(n % {COLLECTIONS} AS text), 'metadata', {platform}, 'apify', 1, 10000, 10000,
              {moment(seen)}, {moment(f"{seen} + 30")}
            FROM {numbers(posts)} s"""),
        ("raw_fetches", f"""INSERT INTO raw_fetches (platform, post_id, fetched_at, raw_sha256, channel, url, purpose,
              run_id, parsed_at, parser_version)
            SELECT {platform}, {post_id}, {moment(f"{seen} + 30")}, {sha}, 'apify',
              'https://www.tiktok.com/@maker/video/' || {post_id}, 'enrich', {padded("n % 1825 * 2", 36)},
              {moment(f"{seen} + 30")}, '1'
            FROM {numbers(posts)} s"""),
        ("creators", """INSERT INTO creators (platform, author_id, author_username, author_name, followers, observed_at,
              first_seen_at)
            SELECT platform, author_id, max(author_username), max(author_name), max(author_followers), max(observed_at),
              min(first_seen_at) FROM posts GROUP BY platform, author_id"""),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--posts", type=int, default=1_000_000)
    asked = parser.parse_args()
    upgrade(asked.url)
    store = open_store(asked.url)
    for name, seconds in fill(store, asked.posts, datetime.now(UTC)):
        print(f"{name}: {seconds:.0f} s", flush=True)
    store.close()


if __name__ == "__main__":
    main()
