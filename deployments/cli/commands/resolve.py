"""`tagtrail resolve`: decides an import that was sent and never answered."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from blocks.database.store import import_planning, money
from blocks.database.store.import_planning import Decision
from blocks.database.tables import Import
from blocks.dedup_keys import import_shown
from blocks.errors import UsageError
from blocks.settings import get_settings
from deployments.cli import stores
from deployments.cli.options import Output, Switch, Typed
from deployments.cli.terminal import write_result


def resolve(
    import_id: Annotated[str, Parameter(name="IMPORT")],
    /,
    *,
    resubmit: Switch = False,
    attach: Typed = None,
    drop: Switch = False,
    output: Output = Output(),
) -> int:
    """Decide an import whose submission ended in doubt: it was sent, and no answer came.

    The vendor's console shows whether the task is there. Nothing is called by this command. An import under way can be
    dropped too while no run follows it, for one because its answers cannot be read. An import that was attached
    to a wrong task can be decided again, as long as that task listed nothing and no run follows it.

    Parameters
    ----------
    import_id
        The import, as `tagtrail status` shows it; its first letters are enough.
    resubmit
        It never arrived: plan it again, for the next run of its hashtag to send. If it did arrive, it is paid twice.
    attach
        It arrived, and this is its task: poll that one from now on.
    drop
        Give it up; the hashtag is free for a new import. Its money goes on counting as spent: it may have been billed.
    """
    decision = _decision(resubmit=resubmit, attach=attach, drop=drop)
    with stores.opened(get_settings()) as store:
        if store is None:
            raise UsageError(f"there is no import {import_id}: the database is not made yet")
        with store.begin() as conn:
            now = import_planning.decide(conn, import_id, decision, task_id=attach)
            counted_usd = money.counted_for_import(conn, now.import_id) / 1_000_000
    facts = {"import_id": now.import_id, "state": now.state, "task_id": now.task_id, "note": now.note}
    write_result(facts | {"counted_usd": counted_usd}, [_sentence(now, decision, counted_usd)], json=output.json)
    return 0


def _decision(*, resubmit: bool, attach: str | None, drop: bool) -> Decision:
    given: dict[Decision, bool] = {"resubmit": resubmit, "attach": attach is not None, "drop": drop}
    chosen = [decision for decision, is_given in given.items() if is_given]
    if len(chosen) != 1:
        raise UsageError("say one of --resubmit, --attach TASK_ID and --drop")
    return chosen[0]


def _sentence(now: Import, decision: Decision, counted_usd: float) -> str:
    what = import_shown(now.kind, now.hashtag, now.wanted, now.import_id)
    if decision == "resubmit":
        return f"Import {now.import_id} of {what} is planned again; the next run of it sends it."
    if decision == "attach":
        return (
            f"Import {now.import_id} of {what} follows task {now.task_id} now; the next run of it collects its posts. "
            "If that is the wrong task, decide it again before posts are listed."
        )
    dropped = f"Import {now.import_id} of {what} is dropped; the next run of it starts a new one."
    if not counted_usd:
        return dropped
    return f"{dropped} {counted_usd:.2f} USD go on counting as spent for it, because it may have been billed."
