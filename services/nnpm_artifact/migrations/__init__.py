"""The artifact index's schema, step by step (Alembic)."""
