"""Which family and which parameters: trials on training rows, one after another or over families together."""
