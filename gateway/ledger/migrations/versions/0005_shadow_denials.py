"""Usage rows tell which policies in shadow mode would have denied their call."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("usage_events", sa.Column("shadow", sa.String(1000), nullable=False, server_default=sa.text("''")))


def downgrade() -> None:
    """Never: the ledger is not thrown away."""
    raise NotImplementedError("a ledger is not downgraded; restore a backup instead")
