"""Is a candidate good enough: metrics, slices, gates, and a server that answers exactly."""
