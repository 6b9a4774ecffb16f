"""A rollout told to people: sentences, pages, gauges."""
