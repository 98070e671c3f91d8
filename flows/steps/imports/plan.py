"""A request's imports: written into the ledger before anything is sent, or found there."""

from __future__ import annotations

from datetime import timedelta

from blocks.database.store import import_planning
from blocks.database.store.import_planning import Ticket
from flows.steps.prefect_side.schedule import is_scheduled
from flows.steps.run.context import RunContext
from flows.steps.run.summary import named


async def plan_imports(run: RunContext) -> list[Ticket]:
    """Write every import of the request into the ledger, or find the one that serves it already."""
    request, tickets = run.request, []
    if request.library == "public" and request.namespace != request.collection:
        run.journal.note(f"the public library knows no namespaces: {request.namespace!r} is not sent")
    for wanted in request.imports:
        ticket = await run.store.run_durable(
            import_planning.plan_import,
            account=run.client.account,
            kind=wanted.kind,
            hashtag=wanted.hashtag,
            wanted=wanted.wanted,
            wish=wanted.key,
            collection=request.collection or "default",
            namespace=request.namespace,
            library=request.library,
            requested=wanted.requested,
            run_id=run.run_id,
            owner=run.owner,
            reuse_after=run.clock() - timedelta(hours=request.reuse_hours),
            fresh=request.fresh,
            continues=not is_scheduled(),
        )
        if ticket.how != "submit":
            at = ticket.since.strftime("%H:%M")
            done = "re-used" if ticket.how == "reused" else "joined"
            if ticket.open_only:
                done, run.journal.continues = "continued", True
            what = named(wanted.kind, wanted.wanted.get("hashtag"), ticket.import_id, wanted.requested)
            run.journal.note(f"{done} the import of {at} UTC for {what}")
            run.log.of_import("%s: import of %s UTC %s; nothing is submitted", what, at, done)
        tickets.append(ticket)
    run.progress.imports_open = len(tickets)
    return tickets
