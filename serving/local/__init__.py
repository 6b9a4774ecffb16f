"""Serving on one machine: model server processes, a real Envoy in front, and what keeps both alive."""
