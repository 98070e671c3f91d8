"""Posts that the user named by URL: written down for the run, and handed to the enrichment."""

from __future__ import annotations

from blocks.database.store import runs
from blocks.database.store.imports import FoundPost
from flows.steps.run import Run

CHUNK = 500


async def take_given_posts(run: Run) -> None:
    """Write the run's given posts down as pending and have them enriched."""
    posts = [FoundPost(ref, typed) for ref, typed in run.wish.posts]
    for at in range(0, len(posts), CHUNK):
        chunk = posts[at : at + CHUNK]
        await run.store.run(
            runs.take_posts,
            run.run_id,
            [(post.ref, post.source_url) for post in chunk],
            now=run.clock(),
        )
        run.found(chunk)
