"""From the body of a request to the coded matrix of its rows: V1 and V2 JSON, and tensors."""
