"""Who asked for open work and imports, what a run may spend on it, and whether a person stopped it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_time = sa.DateTime(timezone=True)
_runs = sa.table(
    "runs",
    sa.column("run_id", sa.String),
    sa.column("flow", sa.String),
    sa.column("parameters", sa.JSON),
    sa.column("started_at", _time),
    sa.column("finished_at", _time),
    sa.column("outcome", sa.String),
    sa.column("message", sa.Text),
    sa.column("cap_micros", sa.BigInteger),
    sa.column("sweeps", sa.Boolean),
    sa.column("stopped_at", _time),
    sa.column("stopped_by", sa.Text),
    sa.column("stopped_why", sa.Text),
)


def _texts(table: str, *names: str) -> Any:
    return sa.table(table, *(sa.column(name, sa.String) for name in names))


_work = _texts("work", "platform", "post_id", "purpose", "state", "asked_by")
_run_posts = _texts("run_posts", "run_id", "platform", "post_id", "purpose")
_run_imports = _texts("run_imports", "run_id", "import_id")
_items = _texts("import_items", "import_id", "platform", "post_id")
_imports = _texts("imports", "import_id", "run_id", "asked_by")


def upgrade() -> None:
    op.add_column("runs", sa.Column("cap_micros", sa.BigInteger()))
    op.add_column("runs", sa.Column("sweeps", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("runs", sa.Column("stopped_at", _time))
    op.add_column("runs", sa.Column("stopped_by", sa.Text()))
    op.add_column("runs", sa.Column("stopped_why", sa.Text()))
    op.add_column("runs", sa.Column("lease_owner", sa.Text()))
    op.add_column("runs", sa.Column("lease_until", _time))
    without_end = sa.text("finished_at IS NULL")
    op.create_index(
        "ix_runs_without_end", "runs", ["run_id"], sqlite_where=without_end, postgresql_where=without_end
    )
    op.add_column("work", sa.Column("asked_by", sa.String(length=64)))
    op.add_column("imports", sa.Column("asked_by", sa.String(length=64)))
    op.add_column("spend", sa.Column("asked_by", sa.String(length=64)))
    conn = op.get_bind()
    conn.execute(sa.update(_runs).where(_runs.c.flow == "collect-imports").values(sweeps=True))
    conn.execute(sa.update(_imports).values(asked_by=_imports.c.run_id))
    _fill_caps_and_stops(conn)
    _fill_askers(conn)


def _fill_caps_and_stops(conn: sa.Connection) -> None:
    """What a run was allowed to spend stands in its parameters; that a person stopped it, in its message only."""
    caps = []
    for row in conn.execute(sa.select(_runs.c.run_id, _runs.c.parameters)).all():
        # Where the parameters were purged nobody knows: then nothing more.
        cap_usd = 0 if row.parameters is None else row.parameters.get("max_spend_usd")
        if cap_usd is not None:
            caps.append({"of_run": row.run_id, "cap_micros": round(cap_usd * 1_000_000)})
    if caps:
        conn.execute(sa.update(_runs).where(_runs.c.run_id == sa.bindparam("of_run")), caps)
    cancelled = sa.and_(_runs.c.outcome == "failed", _runs.c.message.startswith("cancelled; "))
    stop = {"stopped_at": _runs.c.finished_at, "stopped_by": "somebody", "stopped_why": "cancelled"}
    conn.execute(sa.update(_runs).where(cancelled).values(outcome="cancelled", **stop))


def _fill_askers(conn: sa.Connection) -> None:
    """Open work was asked for by the last run, no sweep, that was given the post or whose import listed it."""
    open_ = sa.and_(_work.c.purpose == "enrich", _work.c.state.in_(("pending", "claimed")))

    def asked(source: Any, *conditions: Any) -> Any:
        same = (_work.c.platform == source.c.platform, _work.c.post_id == source.c.post_id)
        return sa.select(_work.c.platform, _work.c.post_id, _runs.c.run_id).where(
            *same, open_, _runs.c.sweeps == sa.false(), *conditions
        ).order_by(_runs.c.started_at)  # fmt: skip

    given = asked(_run_posts, _run_posts.c.run_id == _runs.c.run_id, _run_posts.c.purpose == "enrich")
    of_run = (_items.c.import_id == _run_imports.c.import_id, _run_imports.c.run_id == _runs.c.run_id)
    listed = asked(_items, *of_run)
    started = dict(conn.execute(sa.select(_runs.c.run_id, _runs.c.started_at)).all())
    last: dict[tuple[str, str], str] = {}
    for row in (*conn.execute(given), *conn.execute(listed)):
        key = row.platform, row.post_id
        if key not in last or started[last[key]] <= started[row.run_id]:
            last[key] = row.run_id
    askers = [{"of_platform": key[0], "of_post": key[1], "asked_by": run_id} for key, run_id in last.items()]
    if askers:
        # Without `IN`, which cannot be executed for many rows at once.
        of_post = (_work.c.platform == sa.bindparam("of_platform"), _work.c.post_id == sa.bindparam("of_post"))
        unsettled = sa.or_(_work.c.state == "pending", _work.c.state == "claimed")
        conn.execute(sa.update(_work).where(*of_post, _work.c.purpose == "enrich", unsettled), askers)


def downgrade() -> None:
    op.drop_index("ix_runs_without_end", "runs")
    for table, columns in (
        ("spend", ("asked_by",)),
        ("imports", ("asked_by",)),
        ("work", ("asked_by",)),
        ("runs", ("lease_until", "lease_owner", "stopped_why", "stopped_by", "stopped_at", "sweeps", "cap_micros")),
    ):
        for column in columns:
            op.drop_column(table, column)
