"""Columns that a project derives from those of its contract: expressions, compiled to one program of flat arrays."""
