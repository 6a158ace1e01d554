"""A lock says whether its run only waits and would give way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("locks", sa.Column("gives_way", sa.Text, nullable=True))


def downgrade() -> None:
    raise NotImplementedError("the journal is never taken back: restore a copy instead")
