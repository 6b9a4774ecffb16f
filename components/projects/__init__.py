"""What distinguishes one model from another: the file that says so, and what a run makes of it."""
