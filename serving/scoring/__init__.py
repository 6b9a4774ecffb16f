"""Predictions from a coded matrix: exact flat forms of supported pipelines, and scikit-learn itself for the rest."""
