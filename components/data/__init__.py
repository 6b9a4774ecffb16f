"""Rows: where they come from, what they may hold, and how they are divided."""
