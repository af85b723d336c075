"""The ledger: append-only rows of every unit that moved, and of every call. SQLite or PostgreSQL."""
