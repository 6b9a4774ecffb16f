"""Where bundles and tables live: a directory or S3."""
