"""Which key signs and which keys are trusted, from the one URI in the settings."""

from components.steps.place import local_path
from components.steps.telling import tell
from serving.bundle.signing import PublicKey, SigningKey, development_key, load_key, load_public_key


def signing_key(uri: str) -> SigningKey:
    """The key in the file *uri*, or the development key of the directory *uri*, made (and said so) on first use."""
    key, made = opened_key(uri)
    if made:
        tell(f"made a development signing key in {local_path(uri, 'key')}; set SLIPWAY_KEY to sign with your own")
    return key


def opened_key(uri: str) -> tuple[SigningKey, bool]:
    """The same key, and whether it was made just now."""
    path = local_path(uri, "key")
    return (load_key(path), False) if path.is_file() else development_key(path)


def trusted_keys(uri: str) -> tuple[PublicKey, ...]:
    """The public half of the same key."""
    path = local_path(uri, "key")
    return (load_public_key(path),) if path.is_file() else (development_key(path)[0].public,)
