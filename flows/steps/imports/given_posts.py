"""Posts that the user named by URL: written down for the run, and handed to the enrichment."""

from __future__ import annotations

from blocks.database.store import erased_names, runs
from blocks.database.store.imports import FoundPost
from flows.steps.run.lifecycle import Run
from flows.steps.run.summary import plural

CHUNK = 500


async def take_given_posts(run: Run) -> None:
    """Write the run's given posts down as pending and have them enriched."""
    given = run.wish.posts
    out = await run.store.read(erased_names.posts_among, [ref for ref, _ in given])
    if out:
        run.note(f"{plural(len(out), 'given post')} left out: erased on request (`tagtrail purge`)")
    posts = [FoundPost(ref, typed) for ref, typed in given if (ref.platform, ref.post_id) not in out]
    for at in range(0, len(posts), CHUNK):
        chunk = posts[at : at + CHUNK]
        await run.store.run(
            runs.take_posts,
            run.run_id,
            [(post.ref, post.source_url) for post in chunk],
            now=run.clock(),
        )
        run.found(chunk)
