"""Which key signs and which keys are trusted, from the one URI in the settings."""

from components.steps.place import local_path
from components.steps.telling import tell
from serving.bundle.signing import PublicKey, SigningKey, development_key, load_key, load_public_key


def signing_key(uri: str) -> SigningKey:
    """The key in the file *uri*, or the development key of the directory *uri*, made (and said so) on first use."""
    path = local_path(uri, "key")
    if path.is_file():
        return load_key(path)
    key, made = development_key(path)
    if made:
        tell(f"made a development signing key in {path}; set SLIPWAY_KEY to sign with your own")
    return key


def trusted_keys(uri: str) -> tuple[PublicKey, ...]:
    """The public half of the same key."""
    path = local_path(uri, "key")
    return (load_public_key(path),) if path.is_file() else (development_key(path)[0].public,)
