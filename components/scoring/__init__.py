"""Files of rows to files of predictions, through a signed bundle."""
