"""What a model is, where it lives, and how it reaches traffic."""
