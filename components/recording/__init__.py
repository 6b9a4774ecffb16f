"""What is kept of a run: MLflow, provenance, the version, the release."""
