"""Fitting: families, features, search, training, and what a model remembers of its data."""
