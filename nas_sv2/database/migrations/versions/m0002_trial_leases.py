"""Leases of running trials, so that several workers share a study."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "nas_trial_leases",
        sa.Column("token", sa.String(32), primary_key=True),
        sa.Column("study", sa.String(64), nullable=False),
        sa.Column("process", sa.String(200), nullable=False),
        sa.Column("beats", sa.Integer, nullable=False),
        sa.Column("trial", sa.Integer, nullable=True),
        sa.Column("architecture", sa.String(64), nullable=True),
        sa.UniqueConstraint("study", "trial"),
        sa.UniqueConstraint("study", "architecture"),
    )
