"""Posts that the user named by URL: written down for the run, and handed to the enrichment."""

from __future__ import annotations

from blocks.database.store import erased_names, runs
from blocks.database.store.imports import FoundPost
from flows.steps.run.context import RunContext
from flows.steps.run.summary import plural

CHUNK = 500


async def take_given_posts(run: RunContext) -> list[FoundPost]:
    """Write the run's given posts down as pending; gives them, without those that were erased on request."""
    given = run.request.posts
    out = await run.store.read(erased_names.posts_among, [ref for ref, _ in given])
    if out:
        run.journal.note(f"{plural(len(out), 'given post')} left out: erased on request (`tagtrail purge`)")
    posts = [FoundPost(ref, typed) for ref, typed in given if (ref.platform, ref.post_id) not in out]
    for at in range(0, len(posts), CHUNK):
        chunk = [(post.ref, post.source_url) for post in posts[at : at + CHUNK]]
        await run.store.run(runs.take_posts, run.run_id, chunk, now=run.clock())
    return posts
