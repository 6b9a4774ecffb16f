"""Versions, stages, slots and decisions: the truth, in one database."""
