"""A model on disk: files, signature, and the checks before it is opened."""
