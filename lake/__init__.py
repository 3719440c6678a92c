"""The archive as tables: what analysts query, and what replay, rejects and audit read."""
