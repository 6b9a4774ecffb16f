"""The unit of evidence in a sticky split: a key in one epoch, told apart by a short hash.

All requests of one key are answered by the same arm, so they are one draw and not many, and only the first of them is
evidence. Keys may be user ids. What is kept of one is a hash that is another in each epoch; it is not the key, but
whoever can list the keys can find them in it.
"""

import hashlib

BYTES = 8


def unit(epoch: bytes, key: bytes) -> bytes:
    """Eight bytes; of 100,000 keys two share them with a chance of 3e-10."""
    return hashlib.blake2b(epoch + b"\0" + key, digest_size=BYTES).digest()
