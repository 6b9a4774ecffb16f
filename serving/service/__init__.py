"""What an endpoint promises, whichever place it runs in."""
