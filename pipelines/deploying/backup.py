"""``python -m pipelines.deploying.backup save|secrets|data DIRECTORY``: what a namespace takes with it when it goes.

That are the ledger, the object store's bucket, and the secrets without which neither can be read nor a bundle signed.
Where the store is a site's own, its copy is the site's too. The ledger is saved before the store: a
bundle is there before any version names it, so each version that was saved has its bundle.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pipelines.deploying import dist, secrets
from pipelines.deploying.site import Site
from serving.errors import ConfigError, GateRefusal, InfrastructureError, SlipwayError
from serving.files import whole_directory, write_bytes
from serving.store.store import DirectoryStore, S3Settings, Store, open_store

SECRETS, LEDGER, STORE = "secrets.json", "ledger.jsonl", "store"
CONTROLLER = "deploy/rollout-controller"
COPYING = (CONTROLLER, "--", "sh", "-c")  # where the ledger can be reached, and its address is a variable
OUT, IN = (f'python -m serving.ledger.copying {way} "$SLIPWAY_LEDGER"' for way in ("out", "in"))


@dataclass(frozen=True)
class Kubectl:
    """kubectl, with what always goes before its words: a context, a namespace."""

    before: tuple[str, ...]

    def __call__(self, *words: str, given: bytes | None = None) -> bytes:
        """What it prints.

        Raises:
            InfrastructureError: it fails; with its last words.
        """
        done = subprocess.run([*self.before, *words], input=given, capture_output=True, check=False)  # noqa: S603 - ours
        if done.returncode:
            told = "; ".join(done.stderr.decode(errors="replace").strip().splitlines()[-3:]) or "no reason given"
            raise InfrastructureError(f"kubectl {' '.join(words[:3])} ...: {told}")
        return done.stdout

    def secrets(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("get", "secrets", "-o", "json"))
        return found


def save(kubectl: Kubectl, site: Site, directory: Path) -> None:
    """Write what is there to *directory*, which must be new.

    Raises:
        ConfigError: *directory* is there already.
        InfrastructureError: a part cannot be read.
    """
    if directory.exists():
        raise ConfigError(f"{directory} is there already; a backup is a directory of its own, so name another")
    with whole_directory(directory) as made:  # a backup that broke off is none
        held, dump = kept(kubectl.secrets()), kubectl("exec", *COPYING, OUT)
        write_bytes(made / SECRETS, json.dumps(held).encode())
        (made / SECRETS).chmod(0o600)
        write_bytes(made / LEDGER, dump)
        (made / STORE).mkdir()
        copied = _copied(kubectl, site, lambda store: copy(store, DirectoryStore(made / STORE)))
    directory.chmod(0o700)
    click.echo(f"backup             {directory}: secrets, {len(dump) >> 10} KiB of ledger, {copied}")


def restore(kubectl: Kubectl, site: Site, directory: Path) -> None:
    """Bring ledger and store of *directory* back into a fresh installation.

    Raises:
        InfrastructureError: a part cannot be written, or the ledger there has versions of its own.
    """
    copied = _copied(kubectl, site, lambda store: copy(DirectoryStore(directory / STORE), store))
    kubectl("exec", "-i", *COPYING, IN, given=(directory / LEDGER).read_bytes())
    # It began with a ledger that was empty, and holds leases of it.
    kubectl("rollout", "restart", CONTROLLER)
    kubectl("rollout", "status", CONTROLLER, "--timeout=300s")
    click.echo(f"restored           the ledger, {copied}; what it says is served is brought about now")


def _copied(kubectl: Kubectl, site: Site, copying: Callable[[Store], int]) -> str:
    """What *copying* did with the bucket, in words; a store that is not ours is left to whoever keeps it."""
    if not site.has_own_store:
        return f"no objects, since {site.object_store} is not ours"
    with bucket(kubectl, site) as store:
        return f"{copying(store)} objects"


def kept(answer: dict[str, Any]) -> dict[str, Any]:
    """The secrets of kubectl's *answer* that ``secrets.objects`` keeps, as something to apply."""
    own = [one for one in answer["items"] if one["metadata"]["name"] in (secrets.STORE, secrets.LEDGER, secrets.KEY)]
    fields = ("name", "namespace", "labels", "annotations")
    items = [
        {
            **{key: one[key] for key in ("apiVersion", "kind", "type", "data") if key in one},
            "metadata": {key: one["metadata"][key] for key in fields if key in one["metadata"]},
        }
        for one in own
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def copy(source: Store, target: Store) -> int:
    """Put each value of *source* into *target*, where it is not yet; how many there are."""
    keys = source.list()
    there = set(target.list())
    for key in keys:
        if key not in there:
            target.put(key, source.get(key))
    return len(keys)


@contextmanager
def bucket(kubectl: Kubectl, site: Site) -> Iterator[Store]:
    """The installation's bucket, through a port of this machine."""
    held = secrets.read(kubectl.secrets())[secrets.STORE]
    words = [*kubectl.before, "port-forward", "svc/minio", ":9000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - words of ours
        try:
            found = re.search(r":(\d+) ->", process.stdout.readline() if process.stdout else "")
            if not found:
                raise InfrastructureError(f"no way to svc/minio of {site.system_namespace}; does it run? make status")
            key = (held["access_key"], held["secret_key"], held["region"])
            yield open_store(f"s3://{site.bucket}", S3Settings(f"127.0.0.1:{found[1]}", *key, secure=False))
        finally:
            process.terminate()


def apply_secrets(kubectl: Kubectl, site: Site, directory: Path) -> None:
    """The namespaces, and the secrets that a deployment then finds and keeps.

    Raises:
        GateRefusal: an installation is there, and has keys that others trust.
    """
    system = site.system_namespace
    there = kubectl.secrets()
    if kept(there)["items"]:
        raise GateRefusal(f"{system} has an installation; a backup goes where none is, and over none")
    for given in (dist.namespaces(site).encode(), (directory / SECRETS).read_bytes()):
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=given)


@click.command(help=(__doc__ or "").splitlines()[0])
@click.argument("what", type=click.Choice(["save", "secrets", "data"]))
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.argument("values", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--kubectl", "words", envvar="KUBECTL", default="kubectl", help="How the cluster is reached.")
def main(what: str, directory: Path, values: Path, words: str) -> None:
    if what != "save" and (absent := [name for name in (SECRETS, LEDGER, STORE) if not (directory / name).exists()]):
        raise click.UsageError(f"{directory} has no {', '.join(absent)}; name a directory that make backup wrote")
    site = Site.of(values)
    kubectl = Kubectl((*words.split(), "-n", site.system_namespace))
    try:
        {"save": save, "secrets": apply_secrets, "data": restore}[what](kubectl, site, directory)
    except SlipwayError as error:
        click.echo(f"backup: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
