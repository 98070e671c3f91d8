"""Runs, the ledger of imports, work, failures, spend and rate limits."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "budgets",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("used_micros", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("scope"),
    )
    op.create_table(
        "collections",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "failures",
        sa.Column("failure_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("item_key", sa.Text(), nullable=False),
        sa.Column("platform", sa.String(length=16)),
        sa.Column("post_id", sa.String(length=64)),
        sa.Column("url", sa.Text()),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("error_class", sa.String(length=64), nullable=False),
        sa.Column("code", sa.Text()),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(length=16)),
        sa.Column("raw_sha256", sa.String(length=64)),
        sa.Column("import_id", sa.String(length=36)),
        sa.Column("run_id", sa.String(length=64)),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("failure_id"),
    )
    op.create_index("ix_failures_post", "failures", ["platform", "post_id"])
    op.create_index(
        "uq_failures_open",
        "failures",
        ["item_key", "stage"],
        unique=True,
        sqlite_where=sa.text("resolved_at IS NULL"),
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_table(
        "hashtags",
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tag"),
    )
    op.create_table(
        "import_items",
        sa.Column("import_id", sa.String(length=36), nullable=False),
        sa.Column("item_key", sa.Text(), nullable=False),
        sa.Column("video_no", sa.Text()),
        sa.Column("source_url", sa.Text()),
        sa.Column("item_status", sa.Text()),
        sa.Column("platform", sa.String(length=16)),
        sa.Column("post_id", sa.String(length=64)),
        sa.Column("was_new", sa.Boolean(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("import_id", "item_key"),
    )
    op.create_index("ix_import_items_post", "import_items", ["platform", "post_id"])
    op.create_table(
        "imports",
        sa.Column("import_id", sa.String(length=36), nullable=False),
        sa.Column("account", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("hashtag", sa.Text()),
        sa.Column("wanted", sa.JSON(none_as_null=True)),
        sa.Column("wish", sa.String(length=64), nullable=False),
        sa.Column("forced", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("collection", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("library", sa.String(length=16), nullable=False),
        sa.Column("requested", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("task_id", sa.Text()),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sending_at", sa.DateTime(timezone=True)),
        sa.Column("submitted_at", sa.DateTime(timezone=True)),
        sa.Column("first_item_at", sa.DateTime(timezone=True)),
        sa.Column("last_new_at", sa.DateTime(timezone=True)),
        sa.Column("last_polled_at", sa.DateTime(timezone=True)),
        sa.Column("polls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("quiet_polls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("next_look_at", sa.DateTime(timezone=True)),
        sa.Column("looks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("seen", sa.Integer(), server_default="0", nullable=False),
        sa.Column("new", sa.Integer(), server_default="0", nullable=False),
        sa.Column("known", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("lease_owner", sa.Text()),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("import_id"),
    )
    op.create_index("ix_imports_state", "imports", ["state"])
    op.create_index("ix_imports_task", "imports", ["task_id"])
    op.create_index("ix_imports_wish", "imports", ["account", "wish", "planned_at"])
    op.create_index(
        "uq_imports_open_wish",
        "imports",
        ["account", "wish"],
        unique=True,
        sqlite_where=sa.text("state IN ('planned', 'sending') AND NOT forced"),
        postgresql_where=sa.text("state IN ('planned', 'sending') AND NOT forced"),
    )
    op.create_table(
        "inbox",
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("video_no", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("message", sa.Text()),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("handled_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "rate_limits",
        sa.Column("account", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("next_at", sa.Float(precision=53), nullable=False),
        sa.Column("learned_interval", sa.Float(precision=53)),
        sa.Column("learned_at", sa.Float(precision=53)),
        sa.PrimaryKeyConstraint("account", "name"),
    )
    op.create_table(
        "run_imports",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("import_id", sa.String(length=36), nullable=False),
        sa.Column("how", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "import_id"),
    )
    op.create_index(op.f("ix_run_imports_import_id"), "run_imports", ["import_id"])
    op.create_table(
        "run_posts",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("platform", sa.String(length=16), nullable=False),
        sa.Column("post_id", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=32), server_default="enrich", nullable=False),
        sa.PrimaryKeyConstraint("run_id", "platform", "post_id"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("flow", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=32)),
        sa.Column("collection", sa.Text()),
        sa.Column("parameters", sa.JSON(none_as_null=True)),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("outcome", sa.String(length=20)),
        sa.Column("message", sa.Text()),
        sa.Column("summary", sa.JSON(none_as_null=True)),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index(op.f("ix_runs_started_at"), "runs", ["started_at"])
    op.create_table(
        "spend",
        sa.Column("spend_id", sa.String(length=36), nullable=False),
        sa.Column("account", sa.String(length=32), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("collection", sa.Text()),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("platform", sa.String(length=16)),
        sa.Column("channel", sa.String(length=16)),
        sa.Column("import_id", sa.String(length=36)),
        sa.Column("calls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reserved_micros", sa.BigInteger(), nullable=False),
        sa.Column("spent_micros", sa.BigInteger()),
        sa.Column("reserved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("spend_id"),
    )
    op.create_index("ix_spend_day", "spend", ["account", "day"])
    op.create_index("ix_spend_import", "spend", ["import_id"])
    op.create_index("ix_spend_run", "spend", ["run_id"])
    op.create_table(
        "work",
        sa.Column("platform", sa.String(length=16), nullable=False),
        sa.Column("post_id", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text()),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("platform", "post_id", "purpose"),
    )
    op.create_index("ix_work_state", "work", ["purpose", "state"])


def downgrade() -> None:
    op.drop_table("rate_limits")
    op.drop_table("budgets")
    op.drop_table("spend")
    op.drop_table("failures")
    op.drop_table("work")
    op.drop_table("inbox")
    op.drop_table("import_items")
    op.drop_table("imports")
    op.drop_table("run_posts")
    op.drop_table("run_imports")
    op.drop_table("runs")
    op.drop_table("hashtags")
    op.drop_table("collections")
    op.drop_table("meta")
