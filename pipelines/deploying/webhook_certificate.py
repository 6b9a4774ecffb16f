"""``python -m pipelines.deploying.webhook_certificate``: for webhooks where there is no cert-manager.

An authority of its own signs one serving certificate. Both live a year and are made anew after two thirds of it. The
authority's certificate goes into every webhook configuration that leads to the service, the old one beside it, so that
API server and manager need not change at the same moment.
"""

import argparse
import base64
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from serving.cluster.client import SECRET, Cluster, Kind, Object, open_cluster
from serving.errors import SlipwayError

LIFE = timedelta(days=365)
RENEW_AFTER = LIFE * 2 / 3
CLOCKS = timedelta(minutes=5)  # other nodes' clocks may be behind ours
KINDS = tuple(
    Kind("admissionregistration.k8s.io", "v1", f"{when}webhookconfigurations") for when in ("mutating", "validating")
)


@dataclass(frozen=True)
class Pair:
    """PEM texts: what the server shows, its key, and the authority that its callers trust."""

    certificate: str
    key: str
    authority: str


def make(service: str, namespace: str, now: datetime) -> Pair:
    """A new authority and a certificate of it for the names of *service*."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _name(f"{service} authority {now:%Y-%m-%d}")
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = [f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local", f"{service}.{namespace}"]
    certificate = (
        _builder(_name(names[0]), authority_name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_usage(signs=False), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(_pem(certificate), private.decode(), _pem(authority))


def due(pair: Pair | None, now: datetime) -> bool:
    """True when there is none that can be read, or two thirds of its life are over."""
    if pair is None:
        return True
    try:
        found = x509.load_pem_x509_certificate(pair.certificate.encode())
    except ValueError:
        return True
    return now >= found.not_valid_before_utc + RENEW_AFTER


def trusted(bundle: str, authority: str, now: datetime) -> str:
    """*authority* first, then those of *bundle* that are still valid: what callers trust after the change."""
    kept = [authority]
    for found in x509.load_pem_x509_certificates(bundle.encode()) if bundle.strip() else ():
        if found.not_valid_after_utc > now and _pem(found) not in kept:
            kept.append(_pem(found))
    return "".join(kept[:3])


def ensure(cluster: Cluster, service: str, namespace: str, secret: str, now: datetime) -> str:
    """Bring secret and webhook configurations to what they should be; the answer says what was done."""
    found = cluster.get(SECRET, namespace, secret)
    pair = _read(found)
    renewed = pair is None or due(pair, now)
    if pair is None or renewed:
        pair = make(service, namespace, now)
    # Trust first: a manager that shows the new certificate before anybody trusts it is a manager that is down.
    told = sum(_tell(cluster, kind, service, namespace, pair.authority, now) for kind in KINDS)
    if renewed:
        texts = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": pair.authority}
        data = {name: _encode(text) for name, text in texts.items()}
        if found is None:
            head = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret, "namespace": namespace}}
            cluster.apply({**head, "type": "kubernetes.io/tls", "data": data})
        else:
            cluster.patch(SECRET, namespace, secret, {"data": data})
    state = "made" if renewed else "kept"
    return f"certificate of {service}.{namespace} {state}; {told} webhook configurations changed"


def _tell(cluster: Cluster, kind: Kind, service: str, namespace: str, authority: str, now: datetime) -> int:
    changed = 0
    for item in cluster.list(kind, None, {}):
        hooks = item.get("webhooks", [])
        wanted = [_hook(hook, service, namespace, authority, now) for hook in hooks]
        if wanted != hooks:
            # The version makes it a compare-and-set: whoever applies the manifest meanwhile is not overwritten.
            metadata = {"resourceVersion": item["metadata"].get("resourceVersion")}
            cluster.patch(kind, None, item["metadata"]["name"], {"metadata": metadata, "webhooks": wanted})
            changed += 1
    return changed


def _hook(hook: Object, service: str, namespace: str, authority: str, now: datetime) -> Object:
    config = hook["clientConfig"]
    target = config.get("service") or {}
    if (target.get("name"), target.get("namespace")) != (service, namespace):
        return hook
    bundle = base64.b64decode(config.get("caBundle", "")).decode()
    if bundle.startswith(authority):
        return hook
    return {**hook, "clientConfig": {**config, "caBundle": _encode(trusted(bundle, authority, now))}}


def _read(found: Object | None) -> Pair | None:
    data: Mapping[str, str] = (found or {}).get("data") or {}
    try:
        return Pair(*(base64.b64decode(data[name]).decode() for name in ("tls.crt", "tls.key", "ca.crt")))
    except (KeyError, ValueError):
        return None


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS)
        .not_valid_after(now + LIFE)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="webhook_certificate", description=(__doc__ or "").splitlines()[0])
    for flag in ("--service", "--namespace", "--secret"):
        parser.add_argument(flag, required=True)
    given = parser.parse_args(argv)
    try:
        print(ensure(open_cluster(), given.service, given.namespace, given.secret, datetime.now(UTC)))
    except SlipwayError as error:
        print(f"{given.secret} is not renewed: {error}; the job tries again", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
