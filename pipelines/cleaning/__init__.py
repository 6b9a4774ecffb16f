"""What of a home nothing needs any more, and its end."""
