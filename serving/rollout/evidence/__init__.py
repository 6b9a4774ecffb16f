"""What counts prove: sequential tests, bounds, simulation."""
