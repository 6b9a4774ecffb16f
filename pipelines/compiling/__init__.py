"""Graphs to the committed IR, and what keeps it honest."""
