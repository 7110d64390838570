"""Steps from one schema of our tables to the next; `nas_sv2.database.schema` takes them.

Each file is an Alembic revision. A step only adds: a program of the step before goes on working.
"""
