"""Look, decide, train again."""
