"""Views with stable names, for people with their own tools; CONTRIBUTING and the README say what their columns are.

Columns are named one by one: a column that a table gains later changes no view. In SQLite times are text in UTC
(`2026-03-01 12:00:00.000000`) and flags 0 or 1, as in the tables.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COUNTS = ("plays", "views", "likes", "comments", "shares", "saves")

# What brought a post in, once each: a collection and, where an import of a hashtag found it, that hashtag.
POST_SOURCE = """
CREATE VIEW post_source AS
SELECT i.collection AS collection, i.hashtag AS hashtag, x.platform AS platform, x.post_id AS post_id
FROM import_items x JOIN imports i ON i.import_id = x.import_id
WHERE x.post_id IS NOT NULL
UNION
SELECT r.collection, i.hashtag, x.platform, x.post_id
FROM import_items x JOIN imports i ON i.import_id = x.import_id
JOIN run_imports u ON u.import_id = i.import_id JOIN runs r ON r.run_id = u.run_id
WHERE x.post_id IS NOT NULL AND r.collection IS NOT NULL
UNION
SELECT r.collection, NULL, g.platform, g.post_id
FROM run_posts g JOIN runs r ON r.run_id = g.run_id
WHERE g.purpose = 'enrich' AND r.collection IS NOT NULL
"""

# One row a post: what is known of it now, with the numbers of its latest measurement.
POST_LATEST = """
CREATE VIEW post_latest AS
SELECT p.platform, p.post_id, p.status, p.url, p.shortcode, p.author_id, p.author_username, p.author_name,
  p.author_verified, p.author_followers, p.caption, p.hashtags, p.mentions, p.posted_at, p.media_type, p.product_type,
  p.duration_seconds, p.plays, p.views, p.likes, p.likes_hidden, p.comments, p.shares, p.saves, p.null_reasons,
  p.observed_at,
  (SELECT count(*) FROM snapshots s WHERE s.platform = p.platform AND s.post_id = p.post_id) AS snapshots,
  (SELECT min(s.observed_at) FROM snapshots s WHERE s.platform = p.platform AND s.post_id = p.post_id)
    AS first_observed_at,
  p.first_seen_at, p.channel, p.run_id, p.parser_version, p.raw_sha256
FROM posts p
"""

# One row a collection, hashtag, platform and UTC day of posting; a day of null: the time of posting is not known.
# A sum stands beside the number of values that it rests on. A post that two hashtags found counts in both.
HASHTAG_DAILY = """
CREATE VIEW hashtag_daily AS
SELECT f.collection, f.hashtag, f.platform, {day} AS day, count(*) AS posts,
  count(CASE WHEN p.status = 'enriched' THEN 1 END) AS posts_enriched,
  {sums}
FROM (SELECT DISTINCT collection, hashtag, platform, post_id FROM post_source WHERE hashtag IS NOT NULL) f
JOIN posts p ON p.platform = f.platform AND p.post_id = f.post_id
GROUP BY f.collection, f.hashtag, f.platform, {day}
"""

# One row a creator, as last seen, with the sums over the creator's known posts.
CREATOR_LATEST = """
CREATE VIEW creator_latest AS
SELECT c.platform, c.author_id, c.author_username, c.author_name, c.verified, c.followers, c.observed_at,
  c.first_seen_at, count(p.post_id) AS posts_known, max(p.posted_at) AS last_posted_at,
  {sums}
FROM creators c LEFT JOIN posts p ON p.platform = c.platform AND p.author_id = c.author_id
GROUP BY c.platform, c.author_id, c.author_username, c.author_name, c.verified, c.followers, c.observed_at,
  c.first_seen_at
"""

# In the order in which they are made: a later one may read an earlier one.
VIEWS = ("post_source", "post_latest", "hashtag_daily", "creator_latest")


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    # Postgres keeps sums of bigint as numeric, which tools read as objects.
    sums = ",\n  ".join(
        f"CAST(sum(p.{name}) AS BIGINT) AS {name}, count(p.{name}) AS {name}_known" for name in COUNTS
    )
    day = "substr(p.posted_at, 1, 10)" if sqlite else "CAST(p.posted_at AT TIME ZONE 'UTC' AS DATE)"
    for statement in (POST_SOURCE, POST_LATEST, HASHTAG_DAILY, CREATOR_LATEST):
        op.execute(statement.format(sums=sums, day=day))


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
