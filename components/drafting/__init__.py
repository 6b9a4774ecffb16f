"""A project file drafted from a table: what each column is, what is doubtful, and the YAML with its reasons."""
