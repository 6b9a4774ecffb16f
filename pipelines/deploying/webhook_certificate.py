"""``python -m pipelines.deploying.webhook_certificate``: for webhooks where there is no cert-manager.

The certificate is its own authority and can sign no other. It lives a year and is made anew after two thirds of it. It
goes into every webhook configuration that leads to the service, those before it beside it, so that API server and
manager need not change at the same moment.
"""

import base64
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from serving.cluster.client import SECRET, Cluster, Kind, Object, open_cluster
from serving.errors import SlipwayError

LIFE = timedelta(days=365)
RENEW_AFTER = LIFE * 2 / 3
CLOCKS = timedelta(minutes=5)  # other nodes' clocks may be behind ours
WEBHOOKS = tuple(
    Kind("admissionregistration.k8s.io", "v1", f"{word}webhookconfigurations") for word in ("mutating", "validating")
)
CERTIFICATE, KEY = "tls.crt", "tls.key"  # where a server looks for them in its secret


def make(service: str, namespace: str, now: datetime) -> dict[str, str]:
    """A certificate for the names of *service* and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local", f"{service}.{namespace}"]
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - CLOCKS, now + LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {CERTIFICATE: _pem(certificate), KEY: private.decode()}


def due(certificate: str, now: datetime) -> bool:
    """True when *certificate* cannot be read, or two thirds of its life are over."""
    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError:
        return True
    return now >= found.not_valid_before_utc + RENEW_AFTER


def trusted(bundle: str, certificate: str, now: datetime) -> str:
    """*certificate* first, then those of *bundle* that are still valid: what callers trust after the change."""
    known = x509.load_pem_x509_certificates(bundle.encode()) if bundle.strip() else ()
    valid = [_pem(found) for found in known if found.not_valid_after_utc > now]
    return "".join(list(dict.fromkeys([certificate, *valid]))[:3])


def ensure(cluster: Cluster, service: str, namespace: str, secret: str, now: datetime) -> str:
    """Bring secret and webhook configurations to what they should be; the answer says what was done.

    Raises:
        InfrastructureError: the API does not answer, or refuses.
    """
    found = cluster.get(SECRET, namespace, secret) or {}
    pair = {name: _decode(text) for name, text in (found.get("data") or {}).items()}
    renewed = KEY not in pair or due(pair.get(CERTIFICATE, ""), now)
    if renewed:
        pair = make(service, namespace, now)
    # Trust first: a manager that shows the new certificate before anybody trusts it is a manager that is down.
    told = sum(
        _tell(cluster, kind, item, (service, namespace), pair[CERTIFICATE], now)
        for kind in WEBHOOKS
        for item in cluster.list(kind, None, {})
    )
    if renewed:
        head: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret, "namespace": namespace}}
        data = {name: _encode(text) for name, text in pair.items()}
        cluster.apply({**head, "type": found.get("type", "kubernetes.io/tls"), "data": data})
    state = "made" if renewed else "kept"
    return f"certificate of {service}.{namespace} {state}; {told} webhook configurations changed"


def _tell(cluster: Cluster, kind: Kind, item: Object, target: tuple[str, str], certificate: str, now: datetime) -> bool:
    hooks = item.get("webhooks", [])
    wanted = [_hook(hook, target, certificate, now) for hook in hooks]
    if wanted != hooks:
        # The version makes it a compare-and-set: whoever applies the manifest meanwhile is not overwritten.
        metadata = {"resourceVersion": item["metadata"].get("resourceVersion")}
        cluster.patch(kind, None, item["metadata"]["name"], {"metadata": metadata, "webhooks": wanted})
    return bool(wanted != hooks)


def _hook(hook: Object, target: tuple[str, str], certificate: str, now: datetime) -> Object:
    config = hook["clientConfig"]
    service: Mapping[str, str] = config.get("service") or {}
    bundle = _decode(config.get("caBundle", ""))
    if (service.get("name"), service.get("namespace")) != target or bundle.startswith(certificate):
        return hook
    return {**hook, "clientConfig": {**config, "caBundle": _encode(trusted(bundle, certificate, now))}}


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(text: str) -> str:
    return base64.b64decode(text).decode()


@click.command(help=(__doc__ or "").splitlines()[0])
@click.option("--service", required=True)
@click.option("--namespace", required=True)
@click.option("--secret", required=True)
def main(service: str, namespace: str, secret: str) -> None:
    try:
        click.echo(ensure(open_cluster(), service, namespace, secret, datetime.now(UTC)))
    except SlipwayError as error:
        click.echo(error, err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
