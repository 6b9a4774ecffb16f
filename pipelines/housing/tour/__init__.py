"""What `make run` plays: the whole life of a housing model."""
