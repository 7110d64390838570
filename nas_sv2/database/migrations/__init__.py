"""Alembic's folder: `nas_sv2.database.schema` runs it on a connection of ours."""
