"""Audio, images and holds: what calls used beside tokens, and how well what was held for them fits what they cost."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for name in ("audio_ms", "images", "held", "first_held"):
        op.add_column("usage_events", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    for name in ("audio_ms", "images"):
        op.add_column("usage_daily", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.create_index("ix_usage_events_occurred_at", "usage_events", ["occurred_at"])


def downgrade() -> None:
    """Never: the ledger is not thrown away."""
    raise NotImplementedError("a ledger is not downgraded; restore a backup instead")
