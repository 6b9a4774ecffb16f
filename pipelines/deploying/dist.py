"""``python -m pipelines.deploying.dist``: our manifests as one file for each overlay, for who has kubectl alone.

Namespaces, and the type that all teams share, are a file of their own: who deletes what a file names keeps them, and
with them the volumes of models' data.
"""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import yaml

from pipelines.checkout import MANIFESTS, ROOT
from pipelines.deploying import secrets
from pipelines.deploying.site import Object, Site, rendered
from serving.files import write_text

DIST = ROOT / "dist"
PIECES = {"kind": ("overlays/kind", "controllers/minio", "controllers/mlflow"), "production": ("overlays/production",)}
NAMESPACES, SECRETS = "namespaces.yaml", "secrets.yaml"
BEFORE = """\
# Written by `make dist`. KServe, Pipelines, Envoy Gateway and its Gateway have to be there (`make upstream deploy`
# brings them), then:
#   kubectl apply --server-side -f dist/namespaces.yaml
#   kubectl apply --server-side -f dist/secrets.yaml       # a copy of it that was filled in
#   kubectl apply --server-side -f dist/{name}
# and `kubectl delete -f dist/{name}` removes it again, but for namespaces, secrets and volumes.
# Images are called slipway-python:dev and slipway-serving:dev, as `make images` gives them to a node of kind; the
# `images:` of a kustomization over this file names yours, by digest.
"""


def written(overlay: str, site: Site, objects: Sequence[Object]) -> str:
    """The file of *overlay*."""
    own = [one for one in rendered(objects, site) if one["kind"] not in ("Namespace", "CustomResourceDefinition")]
    return BEFORE.format(name=f"slipway-{overlay}.yaml") + _text(own)


def of_overlay(overlay: str) -> Iterator[Object]:
    """What kustomize renders of it, and of what it comes with."""
    for piece in PIECES[overlay]:
        yield from (one for one in yaml.load_all(kustomized(MANIFESTS / piece), yaml.CSafeLoader) if one)


def kustomized(place: Path) -> str:
    words = ["kubectl", "kustomize", str(place)]
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=120).stdout  # noqa: S603 - ours


def namespaces(site: Site) -> str:
    """Those of *site*, and the types; that of runs is Pipelines' own where it is the usual one."""
    texts = [(MANIFESTS / "base" / name).read_text(encoding="utf-8") for name in ("namespaces.yaml", "splits.yaml")]
    found = rendered([one for text in texts for one in yaml.safe_load_all(text)], site)
    runs = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": site.runs_namespace}}
    own = site.runs_namespace != Site().runs_namespace
    return "# Written by `make dist`.\n" + _text([*found, *([runs] if own else [])])


def template(site: Site) -> str:
    """What is to be filled in; equal values are the same value."""
    return "# Written by `make dist`. What stands in <> is to be filled in.\n" + _text(secrets.template(site)["items"])


def _text(objects: Sequence[Object]) -> str:
    return yaml.dump_all(objects, Dumper=yaml.CSafeDumper, sort_keys=False, width=120)


@click.command(help=(__doc__ or "").splitlines()[0])
@click.option("--values", type=click.Path(dir_okay=False, path_type=Path), help="Of another site than the overlay's.")
@click.option("--namespaces", "asked", type=click.Path(dir_okay=False, path_type=Path), help="Print a site's, no more.")
def main(values: Path | None, asked: Path | None) -> None:
    if asked:
        click.echo(namespaces(Site.of(asked)), nl=False)
        return
    for overlay in PIECES:
        site = Site.of(values or MANIFESTS / "overlays" / overlay / "values.env")
        write_text(DIST / f"slipway-{overlay}.yaml", written(overlay, site, list(of_overlay(overlay))))
    write_text(DIST / NAMESPACES, namespaces(Site.of(values) if values else Site()))
    write_text(DIST / SECRETS, template(Site.of(values) if values else Site()))
    click.echo(f"dist               {', '.join(sorted(path.name for path in DIST.iterdir()))}")


if __name__ == "__main__":
    main()
