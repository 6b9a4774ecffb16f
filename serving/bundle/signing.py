"""Signatures of bundles: ECDSA over P-256 with SHA-256, in the shape of a DSSE envelope with a detached payload.

The signed bytes are DSSE's pre-authentication encoding of the manifest, so that a signature made for another kind of
document can never be passed off as one of ours. Signing is deterministic (RFC 6979): the same manifest and key give the
same bytes. A key is known by the SHA-256 of its public part (SubjectPublicKeyInfo, DER).
"""

import base64
import binascii
import contextlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from serving.errors import ConfigError, GateRefusal
from serving.files import canonical_json, sha256_bytes, write_bytes

PAYLOAD_TYPE = "application/vnd.slipway.manifest+json"
DEVELOPMENT_KEY = "development.key"


def _algorithm() -> ec.ECDSA:
    return ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


@dataclass(frozen=True)
class PublicKey:
    """A key whose signatures are believed; ``id`` is the SHA-256 hex of its DER form."""

    key: ec.EllipticCurvePublicKey

    @classmethod
    def from_pem(cls, pem: bytes, name: str = "the public key") -> "PublicKey":
        """Read a public key; the PEM of a private key gives its public half.

        Raises:
            ConfigError: *pem* is not a P-256 key.
        """
        if b"PRIVATE KEY" in pem:
            return SigningKey.from_pem(pem, name).public
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{name}: expected a PEM public key on curve P-256, seen something unreadable") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise ConfigError(f"{name}: expected an elliptic curve key on P-256, seen {type(key).__name__}")
        return cls(key)

    @property
    def id(self) -> str:
        der = self.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return sha256_bytes(der)

    @property
    def pem(self) -> bytes:
        return self.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, repr=False)
class SigningKey:
    """A private P-256 key; its text never appears in a repr."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> "SigningKey":
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes, name: str = "the signing key") -> "SigningKey":
        """Read an unencrypted private key.

        Raises:
            ConfigError: *pem* is not a private P-256 key.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(
                f"{name}: expected an unencrypted PEM private key on curve P-256, seen something else; "
                "make one with 'openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256'"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ConfigError(f"{name}: expected an elliptic curve key on P-256, seen {type(key).__name__}")
        return cls(key)

    def __repr__(self) -> str:
        return f"SigningKey(id={self.public.id[:12]})"

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.key.public_key())

    @property
    def pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def sign(payload: bytes, key: SigningKey) -> bytes:
    """The envelope of *payload*, without the payload itself."""
    signature = key.key.sign(_authenticated(payload), _algorithm())
    entry = {"keyid": key.public.id, "sig": base64.b64encode(signature).decode()}
    return canonical_json({"payloadType": PAYLOAD_TYPE, "signatures": [entry]}) + b"\n"


def verify(payload: bytes, envelope: bytes, trusted: Sequence[PublicKey], name: str = "the bundle") -> str:
    """The id of the trusted key that signed *payload*.

    Raises:
        GateRefusal: no trusted key signed it, or the signature does not fit the bytes; the sentence tells which.
    """
    keys = {key.id: key for key in trusted}
    signatures = _signatures(envelope, name)
    known = [(keys[keyid], signature) for keyid, signature in signatures if keyid in keys]
    if not known:
        seen = ", ".join(sorted(keyid[:12] for keyid, _ in signatures)) or "nobody"
        raise GateRefusal(
            f"{name} is signed by {seen}, expected one of the trusted keys "
            f"({', '.join(sorted(keyid[:12] for keyid in keys)) or 'none is configured'}); "
            "trust that key or take a bundle from this place's own pipeline"
        )
    for key, signature in known:
        with contextlib.suppress(InvalidSignature):
            key.key.verify(signature, _authenticated(payload), ec.ECDSA(hashes.SHA256()))
            return key.id
    raise GateRefusal(
        f"{name}: the signature of key {known[0][0].id[:12]} does not fit manifest.json, which was changed after "
        "signing; fetch the bundle again or train a new one"
    )


def load_key(place: str | Path) -> SigningKey:
    """The signing key at a path or ``file://`` address, such as a mounted secret."""
    path = _path(place)
    return SigningKey.from_pem(_read(path), str(path))


def load_public_key(place: str | Path) -> PublicKey:
    """The public key at a path or ``file://`` address; a private key there gives its public half."""
    path = _path(place)
    return PublicKey.from_pem(_read(path), str(path))


def development_key(directory: Path) -> tuple[SigningKey, bool]:
    """The key pair of this machine's own bundles, and whether it was made just now.

    The private key is readable by its owner only; the public half lies beside it as ``development.pub``. Two processes
    that come first at the same time end up with one key.
    """
    path = directory / DEVELOPMENT_KEY
    made = not path.exists() and _place_first(path, SigningKey.generate().pem)
    key = load_key(path)
    public = path.with_suffix(".pub")
    if made or not public.exists():
        write_bytes(public, key.public.pem)
    return key, made


def _place_first(path: Path, content: bytes) -> bool:
    """Put *content* at *path* unless something is there already; readers never see a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(name, path)
        except FileExistsError:
            return False
        return True
    finally:
        Path(name).unlink()


def _path(place: str | Path) -> Path:
    if isinstance(place, Path) or "://" not in place:
        return Path(place)
    parts = urlsplit(place)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ConfigError(f"no key at {place!r}: expected a path or 'file:///path/of/key.pem'")
    return Path(unquote(parts.path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"no key at {path}: {error.strerror}; name an existing PEM file") from error


def _authenticated(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _signatures(envelope: bytes, name: str) -> list[tuple[str, bytes]]:
    try:
        document: Any = json.loads(envelope)
        if document["payloadType"] != PAYLOAD_TYPE:
            raise GateRefusal(
                f"{name}: manifest.sig is of type {str(document['payloadType'])[:80]!r}, expected {PAYLOAD_TYPE!r}; "
                "it was made for another kind of document"
            )
        return [
            (str(entry["keyid"]), base64.b64decode(entry["sig"], validate=True)) for entry in document["signatures"]
        ]
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError) as error:
        raise GateRefusal(
            f"{name}: manifest.sig is not a signature envelope; fetch the bundle again or train a new one"
        ) from error
