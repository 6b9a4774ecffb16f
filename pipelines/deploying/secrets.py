"""``python -m pipelines.deploying.secrets VALUES``: an installation's secrets, made once, copied to their readers.

Reads ``kubectl get secrets -n slipway-system -o json`` and writes what to apply. What exists is kept, so a second
deploy changes nothing; what is missing is made at random. Nothing of it is ever in a file of the repository.
"""

import base64
import json
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from pipelines.deploying.site import Site
from serving.bundle.signing import SigningKey

Object = dict[str, Any]
STORE, LEDGER, KEY, TRUSTED = "slipway-object-store", "slipway-ledger", "slipway-signing-key", "slipway-trusted-keys"
REGION = "us-east-1"
TOLD = {  # what a template says of each value
    "access_key": "the id of the object store's key",
    "AWS_ACCESS_KEY_ID": "the id of the object store's key, again",
    "accesskey": "the id of the object store's key, again",
    "secret_key": "the object store's key",
    "AWS_SECRET_ACCESS_KEY": "the object store's key, again",
    "secretkey": "the object store's key, again",
    "password": "the password of the database's root, where the database is ours",
    "my.cnf": "[client], user=NAME and password=PASSWORD of the database, each on a line of its own",
    "signing.key": "the output of: openssl genpkey -algorithm ed25519",
    "trusted.pem": "the output of: openssl pkey -in signing.key -pubout",
}


def objects(
    existing: Mapping[str, Mapping[str, str]], token: Callable[[], str], make_key: Callable[[], str], site: Site
) -> Object:
    """The list to apply.

    Args:
        existing: data of the secrets of the home namespace by name, decoded.
        token: makes a random text of letters and digits. make_key: makes the PEM of a signing key.
    """
    store = _store(existing.get(STORE, {}), token, site)
    ledger = _ledger(existing.get(LEDGER, {}), token)
    signing = dict(existing.get(KEY, {})) or {"signing.key": make_key()}
    public = SigningKey.from_pem(signing["signing.key"].encode()).public
    trusted = {f"{public.id[:16]}.pem": public.pem.decode()}
    home, steps, models = site.system_namespace, site.runs_namespace, site.models_namespace
    copies = [
        *(_secret(STORE, namespace, store, _initializer(store)) for namespace in (home, steps, models)),
        _secret(
            "mlpipeline-minio-artifact", steps, {"accesskey": store["access_key"], "secretkey": store["secret_key"]}
        ),
        *(_secret(LEDGER, namespace, ledger) for namespace in (home, steps)),
        *(_secret(KEY, namespace, signing) for namespace in (home, steps)),
        *(_object("ConfigMap", TRUSTED, namespace, trusted) for namespace in (home, models)),
    ]
    return {"apiVersion": "v1", "kind": "List", "items": copies}


def template(site: Site) -> Object:
    """The same objects with what is to be filled in, said; what is no secret is there already."""
    words = objects({LEDGER: {"my.cnf": "", "password": ""}}, lambda: "", new_key, site)["items"]
    told = [{**one, ("stringData" if one["kind"] == "Secret" else "data"): _told(one)} for one in words]
    filled = [{key: value for key, value in one.items() if key != "data" or one["kind"] != "Secret"} for one in told]
    return {"apiVersion": "v1", "kind": "List", "items": filled}


def _told(made: Object) -> dict[str, str]:
    if made["kind"] == "ConfigMap":
        return {"trusted.pem": f"<{TOLD['trusted.pem']}>"}
    known = {key: base64.b64decode(value).decode() for key, value in made["data"].items()}
    return {key: f"<{TOLD[key]}>" if key in TOLD else value for key, value in known.items()}


def read(answer: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Secrets of kubectl's answer by name, decoded."""
    return {
        item["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in item.get("data", {}).items()}
        for item in answer.get("items", ())
        if item["metadata"]["name"] in (STORE, LEDGER, KEY)
    }


def new_key() -> str:
    """A signing key of this installation, as PEM."""
    return SigningKey.generate().pem.decode()


def _store(found: Mapping[str, str], token: Callable[[], str], site: Site) -> dict[str, str]:
    parts = urlsplit(site.object_store)
    access = found.get("access_key") or f"slipway{token()[:12]}"
    secret = found.get("secret_key") or token()
    where = {"endpoint": parts.netloc, "secure": "true" if parts.scheme == "https" else "false"}
    # The site says where, the secret with which key; of the usual site, which says nothing, the secret may say both.
    said = {} if site.object_store == Site().object_store else where
    return {
        **where,
        "region": REGION,
        **found,
        **said,
        "access_key": access,
        "secret_key": secret,
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
    }


def _initializer(store: Mapping[str, str]) -> dict[str, str]:
    """How KServe's storage initializer is told the rest; it ignores what it does not know without a word."""
    secure = store["secure"] == "true"
    return {
        "serving.kserve.io/s3-endpoint": store["endpoint"],
        "serving.kserve.io/s3-usehttps": "1" if secure else "0",
        "serving.kserve.io/s3-verifyssl": "1" if secure else "0",
        "serving.kserve.io/s3-region": store["region"],
    }


def _ledger(found: Mapping[str, str], token: Callable[[], str]) -> dict[str, str]:
    if "my.cnf" in found:
        return dict(found)
    password = found.get("password") or token()
    return {**found, "password": password, "my.cnf": f"[client]\nuser=root\npassword={password}\n"}


def _secret(name: str, namespace: str, data: Mapping[str, str], annotations: Mapping[str, str] | None = None) -> Object:
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    made = _object("Secret", name, namespace, encoded) | {"type": "Opaque"}
    if annotations:
        made["metadata"]["annotations"] = dict(annotations)
    return made


def _object(kind: str, name: str, namespace: str, data: Mapping[str, str]) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "slipway"}}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": dict(data)}


@click.command(help=(__doc__ or "").splitlines()[0])
@click.argument("values", type=click.Path(dir_okay=False, path_type=Path))
def main(values: Path) -> None:
    site = Site.of(values)
    click.echo(json.dumps(objects(read(json.load(sys.stdin)), lambda: secrets.token_hex(20), new_key, site)))


if __name__ == "__main__":
    main()
