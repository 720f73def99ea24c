"""The one way in which nnpm's services talk to their SQL databases: SQLite by default, PostgreSQL in production."""
