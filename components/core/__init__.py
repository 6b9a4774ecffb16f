"""Plain functions of the stages: values and paths in, values and paths out; no kfp."""
