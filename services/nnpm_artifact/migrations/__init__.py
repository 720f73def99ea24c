"""Alembic's migrations of the artifact database, run when the service starts."""
