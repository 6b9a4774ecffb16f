"""Plan, state, rules and what they want: pure functions."""
