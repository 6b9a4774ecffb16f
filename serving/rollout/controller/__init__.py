"""What carries a decision out, and remembers it."""
