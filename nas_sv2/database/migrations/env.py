"""Run by Alembic: take the missing steps in the transaction of the connection it was given."""

from alembic import context

context.configure(**context.config.attributes["configure"])
context.run_migrations()
