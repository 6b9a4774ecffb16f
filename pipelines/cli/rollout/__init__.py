"""The verbs of ``slipway rollout``; ``group.py`` lists them."""
