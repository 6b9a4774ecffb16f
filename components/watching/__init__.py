"""Is what serves still good: prediction log, labels, drift, alarms."""
