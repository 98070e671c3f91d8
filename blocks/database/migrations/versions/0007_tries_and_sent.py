"""What was tried for a post counts over runs; money for an import says whether it was sent."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("work", sa.Column("tries", sa.JSON()))
    op.add_column("spend", sa.Column("sent_at", sa.DateTime(timezone=True)))
    # Which of the reservations so far were sent is not known: all of imports that ever were.
    op.execute(
        "UPDATE spend SET sent_at = reserved_at WHERE kind = 'import' "
        "AND import_id IN (SELECT import_id FROM imports WHERE sending_at IS NOT NULL)"
    )


def downgrade() -> None:
    op.drop_column("spend", "sent_at")
    op.drop_column("work", "tries")
