"""Verbs about a table and its contract, before a run."""
