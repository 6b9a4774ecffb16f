"""One column of a contract: what its cells may hold, and which columns of the coded matrix they become."""
