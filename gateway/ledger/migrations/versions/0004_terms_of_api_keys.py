"""API keys have a name, groups, scopes, limits and an end. Those of before have none of it: they stay as they were."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("name", sa.String(100), nullable=False, server_default=sa.text("''")))
    op.add_column("api_keys", sa.Column("team", sa.String(200), nullable=False, server_default=sa.text("''")))
    op.add_column("api_keys", sa.Column("organisation", sa.String(200), nullable=False, server_default=sa.text("''")))
    op.add_column("api_keys", sa.Column("scopes", sa.String(1000), nullable=False, server_default=sa.text("''")))
    op.add_column("api_keys", sa.Column("limits", sa.String(1000), nullable=False, server_default=sa.text("''")))
    op.add_column("api_keys", sa.Column("expires_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Never: the ledger is not thrown away."""
    raise NotImplementedError("a ledger is not downgraded; restore a backup instead")
