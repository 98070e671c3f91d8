"""Posts that are left to rest, because their numbers stopped moving."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("posts", sa.Column("resting_since", sa.DateTime(timezone=True)))
    op.add_column("posts", sa.Column("rested_until", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("posts", "rested_until")
    op.drop_column("posts", "resting_since")
