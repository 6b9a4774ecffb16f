"""The process that answers requests: a KServe model server with a fast route of its own."""
