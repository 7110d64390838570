"""The tables as they were before there were versions.

Databases of that time hold those of them that were needed until then; the others are made.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make what is not there."""
    _table(
        "nas_measurements",
        sa.Column("architecture", sa.String(64), nullable=False),
        sa.Column("fingerprint_key", sa.String(64), nullable=False),
        sa.Column("plan_key", sa.String(64), nullable=False),
        sa.Column("measured_at", sa.String(40), nullable=False),
        index=("nas_measurements_key", "architecture", "fingerprint_key", "plan_key"),
    )
    _table(
        "nas_grades",
        sa.Column("fingerprint_key", sa.String(64), nullable=False),
        sa.Column("plan_key", sa.String(64), nullable=False),
        sa.Column("graded_at", sa.String(40), nullable=False),
        index=("nas_grades_key", "fingerprint_key", "plan_key"),
    )
    _table(
        "nas_guideline_profiles",
        sa.Column("target", sa.String(128), nullable=False),
        sa.Column("device_key", sa.String(64), nullable=False),
        sa.Column("plan_key", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        index=("nas_guideline_profiles_key", "target", "device_key", "plan_key"),
    )
    _table(
        "nas_predictors",
        sa.Column("fingerprint_key", sa.String(64), nullable=False),
        sa.Column("plan_key", sa.String(64), nullable=False),
        sa.Column("space_digest", sa.String(64), nullable=False),
        sa.Column("fitted_at", sa.String(40), nullable=False),
        index=("nas_predictors_key", "fingerprint_key", "plan_key", "space_digest"),
    )
    _table(
        "nas_records",
        sa.Column("study", sa.String(64), nullable=False),
        sa.Column("architecture", sa.String(64), nullable=False),
        sa.Column("trial", sa.Integer, nullable=False),
        sa.UniqueConstraint("study", "architecture"),
        sa.UniqueConstraint("study", "trial"),
    )
    _table(
        "nas_evaluations",
        sa.Column("architecture", sa.String(64), nullable=False),
        sa.Column("recipe", sa.String(64), nullable=False),
        sa.Column("data", sa.String(512), nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("device", sa.String(128), nullable=False),
        sa.UniqueConstraint("architecture", "recipe", "data", "seed", "device"),
    )
    _table(
        "nas_certificates",
        sa.Column("recipe", sa.String(64), nullable=False),
        sa.Column("data", sa.String(512), nullable=False),
        sa.Column("space", sa.String(64), nullable=False),
        index=("ix_nas_certificates_recipe", "recipe"),
    )
    op.create_table(
        "nas_leases",
        sa.Column("device", sa.String(255), primary_key=True),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("holder", sa.String(200), nullable=False),
        sa.Column("process", sa.String(200), nullable=False),
        sa.Column("taken_at", sa.Float, nullable=False),
        sa.Column("ends_at", sa.Float, nullable=False),
        if_not_exists=True,
    )


def _table(name: str, *columns: sa.schema.SchemaItem, index: tuple[str, ...] = ()) -> None:
    """A table of documents; `index` is the name of one and its columns."""
    op.create_table(
        name,
        sa.Column("id", sa.Integer, primary_key=True),
        *columns,
        sa.Column("document", sa.Text, nullable=False),
        if_not_exists=True,
    )
    if index:
        op.create_index(index[0], name, list(index[1:]), if_not_exists=True)
