"""Signatures: whose they are, what they cover, and what happens to a key on disk."""

import json
import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from serving.bundle.signing import (
    PublicKey,
    SigningKey,
    development_key,
    load_key,
    load_public_key,
    sign,
    verify,
)
from serving.errors import ConfigError, GateRefusal

KEY, OTHER = SigningKey.generate(), SigningKey.generate()
PAYLOAD = b'{"format":1}'


def edited(envelope: bytes, **changes: object) -> bytes:
    return json.dumps({**json.loads(envelope), **changes}).encode()


def test_a_signature_names_the_key_that_made_it() -> None:
    """verify returns the id of the signer among the trusted keys."""
    assert verify(PAYLOAD, sign(PAYLOAD, KEY), [OTHER.public, KEY.public]) == KEY.public.id


def test_signing_twice_gives_the_same_bytes() -> None:
    """Nothing random is in an envelope, so equal bundles are equal files."""
    assert sign(PAYLOAD, KEY) == sign(PAYLOAD, KEY)


@pytest.mark.parametrize(
    ("payload", "envelope", "sentence"),
    [
        pytest.param(PAYLOAD + b" ", sign(PAYLOAD, KEY), "changed after signing", id="payload-changed"),
        pytest.param(PAYLOAD, sign(b"other", KEY), "changed after signing", id="signature-of-something-else"),
        pytest.param(PAYLOAD, sign(PAYLOAD, OTHER), "expected one of the trusted keys", id="wrong-key"),
        pytest.param(PAYLOAD, edited(sign(PAYLOAD, KEY), signatures=[]), "signed by nobody", id="no-signature"),
        pytest.param(
            PAYLOAD, edited(sign(PAYLOAD, KEY), payloadType="text/plain"), "another kind of document", id="other-type"
        ),
        pytest.param(PAYLOAD, b"not json", "not a signature envelope", id="not-json"),
        pytest.param(PAYLOAD, b"[]", "not a signature envelope", id="not-an-object"),
        pytest.param(
            PAYLOAD,
            edited(sign(PAYLOAD, KEY), signatures=[{"keyid": KEY.public.id, "sig": "!"}]),
            "not a signature envelope",
            id="not-base64",
        ),
        pytest.param(
            PAYLOAD,
            edited(sign(PAYLOAD, OTHER), signatures=[{**json.loads(sign(PAYLOAD, OTHER))["signatures"][0],
                                                      "keyid": KEY.public.id}]),
            "changed after signing",
            id="foreign-signature-under-a-trusted-name",
        ),
    ],
)  # fmt: skip
def test_what_no_trusted_key_signed_is_refused(payload: bytes, envelope: bytes, sentence: str) -> None:
    """Each reason has its own sentence."""
    with pytest.raises(GateRefusal, match=sentence):
        verify(payload, envelope, [KEY.public])


def test_without_trusted_keys_nothing_is_believed() -> None:
    """An empty list trusts nobody, not everybody."""
    with pytest.raises(GateRefusal, match="none is configured"):
        verify(PAYLOAD, sign(PAYLOAD, KEY), [])


def test_any_of_several_signatures_will_do() -> None:
    """An envelope with a second signature passes for whoever trusts either key."""
    both = [*json.loads(sign(PAYLOAD, OTHER))["signatures"], *json.loads(sign(PAYLOAD, KEY))["signatures"]]
    envelope = edited(sign(PAYLOAD, KEY), signatures=both)
    assert verify(PAYLOAD, envelope, [KEY.public]) == KEY.public.id
    assert verify(PAYLOAD, envelope, [OTHER.public]) == OTHER.public.id


def test_the_development_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    """The first call makes it and says so; later ones read it; only its owner may."""
    key, made = development_key(tmp_path / "keys")
    again, made_again = development_key(tmp_path / "keys")
    assert (made, made_again) == (True, False)
    assert again.public.id == key.public.id
    assert stat.S_IMODE((tmp_path / "keys" / "development.key").stat().st_mode) == 0o600
    assert load_public_key(tmp_path / "keys" / "development.pub").id == key.public.id
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {"development.key", "development.pub"}


def test_processes_that_come_first_together_share_one_key(tmp_path: Path) -> None:
    """A race for the first key has one winner, and everybody uses that key."""
    results: list[tuple[SigningKey, bool]] = []
    barrier = threading.Barrier(4)

    def first() -> None:
        barrier.wait()
        results.append(development_key(tmp_path))

    threads = [threading.Thread(target=first) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key.public.id for key, _ in results}) == 1
    assert sum(made for _, made in results) == 1


def test_keys_are_found_by_path_or_address(tmp_path: Path) -> None:
    """A mounted secret is named by its path or a file:// address; a private key's public half is read from it too."""
    path = tmp_path / "a key.pem"
    path.write_bytes(KEY.pem)
    assert load_key(path).public.id == load_key(f"file://{tmp_path}/a%20key.pem").public.id == KEY.public.id
    assert load_public_key(str(path)).id == KEY.public.id
    assert PublicKey.from_pem(KEY.public.pem).id == KEY.public.id


ED25519 = ed25519.Ed25519PrivateKey.generate()
P384 = ec.generate_private_key(ec.SECP384R1())
ENCODING = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(b"nothing", id="not-a-key"),
        pytest.param(ED25519.private_bytes(*ENCODING, serialization.NoEncryption()), id="other-kind"),
        pytest.param(P384.private_bytes(*ENCODING, serialization.NoEncryption()), id="other-curve"),
        pytest.param(
            KEY.key.private_bytes(*ENCODING, serialization.BestAvailableEncryption(b"word")), id="with-a-password"
        ),
    ],
)
def test_other_keys_are_refused_by_name(pem: bytes, tmp_path: Path) -> None:
    """Only unencrypted P-256 keys are taken, and the message names the file."""
    (tmp_path / "key.pem").write_bytes(pem)
    with pytest.raises(ConfigError, match=r"key\.pem: expected"):
        load_key(tmp_path / "key.pem")


def test_a_missing_key_and_an_unknown_scheme_are_told(tmp_path: Path) -> None:
    """The message says what was looked for."""
    with pytest.raises(ConfigError, match=r"absent\.pem"):
        load_key(tmp_path / "absent.pem")
    with pytest.raises(ConfigError, match="expected a path or"):
        load_key("vault://key")


def test_a_private_key_never_shows_in_a_repr() -> None:
    """Logs and tracebacks hold the key's id only."""
    assert "PRIVATE" not in repr(KEY)
    assert KEY.public.id[:12] in repr(KEY)
