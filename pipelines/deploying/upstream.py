"""``python -m pipelines.deploying.upstream``: bring the release manifests of third parties beside our patches.

Which ones at which versions is in ``manifests/versions.yaml``, which objects they hold in ``manifests/pinned``. They
come from their projects, or from a directory of a site that reaches none of them; either way no object is written that
was not looked at.
"""

import sys
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CalledProcessError, run

import click
import yaml
from pydantic import Field

from pipelines.checkout import MANIFESTS
from pipelines.deploying import pins
from serving.contract import Frozen
from serving.errors import ConfigError, InfrastructureError, SlipwayError
from serving.files import write_bytes, write_text

TIMEOUT_S = 120
PINNED = "pinned"


class ThirdParty(Frozen):
    """One third party's manifest.

    Attributes:
        file: its name in a directory of copies. into: where our kustomization reads it, below ``manifests/``.
        url, kustomize: where its project publishes it, as a file or as a kustomization; one of them.
        tested: versions that our patches ran with, where they do not depend on those of another server.
        replace: texts to put in the place of others after rendering.
    """

    version: str
    file: str
    into: str
    url: str = ""
    kustomize: str = ""
    replace: dict[str, str] = Field(default_factory=dict)
    tested: tuple[str, ...] = ()


def releases(which: str = "", versions: Path = MANIFESTS / "versions.yaml") -> dict[str, ThirdParty]:
    """The pinned releases by name, in the order in which they are installed.

    Args:
        which: a key of ``versions.yaml`` with the releases that differ, or nothing.
    """
    found = yaml.safe_load(versions.read_text(encoding="utf-8"))
    newer = found[which] if which else {}
    return {name: ThirdParty.model_validate({**one, **newer.get(name, {})}) for name, one in found["upstream"].items()}


def pins_of(name: str, release: ThirdParty, manifests: Path = MANIFESTS) -> Path:
    """Where the digests of the objects of *release* are; no file where nothing of it was ever looked at."""
    return manifests / PINNED / f"{name}-{release.version}.txt"


def pinned(name: str, release: ThirdParty, manifests: Path = MANIFESTS) -> dict[str, frozenset[str]]:
    """The digests of *release*, by object."""
    path = pins_of(name, release, manifests)
    return pins.read(path.read_text(encoding="utf-8")) if path.is_file() else {}


def from_directory(directory: Path) -> Callable[[str, ThirdParty], bytes]:
    """A source of releases: the files of *directory*."""

    def fetch(name: str, release: ThirdParty) -> bytes:
        path = directory / release.file
        if not path.is_file():
            raise ConfigError(f"{name}: no file {release.file} in {directory}; a directory of copies has one for each")
        return path.read_bytes()

    return fetch


def from_network(name: str, release: ThirdParty) -> bytes:
    """A source of releases: their projects.

    Raises:
        InfrastructureError: the place does not answer, or kubectl cannot render what it answers.
    """
    try:
        data = _kustomized(release.kustomize) if release.kustomize else _downloaded(release.url)
    except (OSError, CalledProcessError) as error:
        raise InfrastructureError(
            f"{name} {release.version} cannot be fetched from {release.url or release.kustomize}: {error}; where the "
            "network does not reach it, say UPSTREAM=DIR with a directory of copies"
        ) from error
    for old, new in release.replace.items():
        data = data.replace(old.encode(), new.encode())
    return data


def bring(
    releases: Mapping[str, ThirdParty],
    fetch: Callable[[str, ThirdParty], bytes],
    manifests: Path,
    say: Callable[[str], None],
    *,
    accept: bool = False,
) -> None:
    """Write each release to its place under *manifests*, unless it is there already.

    With *accept* what arrives is pinned as it is, beside the forms of it that were; the change of the pins is there to
    be looked at.
    """
    known = {name: pinned(name, release, manifests) for name, release in releases.items()}
    for name, release in releases.items():
        place, title = manifests / release.into, f"{name} {release.version}"
        others = set[str]().union(*(known[other] for other in releases if other != name))
        if not accept and place.is_file() and _is_there(title, place, known[name]):
            say(f"{name:<16} {release.version:<10} is there")
            continue
        found = pins.objects(fetch(name, release))
        if accept:
            own = {each: one for each, one in found.items() if each not in others}
            known[name] = pins.of(own, known[name])
            write_text(pins_of(name, release, manifests), pins.lines(known[name]))
        write_bytes(place, pins.judged(title, found, known[name], others))
        say(f"{name:<16} {release.version:<10} {len(known[name])} objects, {place.stat().st_size >> 10} KiB")


def _is_there(title: str, place: Path, known: pins.Pins) -> bool:
    """Whether *place* has the pinned objects, and nothing else."""
    try:
        pins.judged(title, pins.objects(place.read_bytes()), known)
    except SlipwayError:
        return False
    return True


def _downloaded(url: str) -> bytes:
    if not url.startswith("https://"):
        raise ConfigError(f"expected an https:// address, got {url!r}")
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - the scheme is checked above
        return bytes(answer.read())


def _kustomized(address: str) -> bytes:
    command = ["kubectl", "kustomize", address]  # from versions.yaml, not from a caller
    return run(command, check=True, capture_output=True, timeout=600).stdout  # noqa: S603 - see the line above


@click.command(help=(__doc__ or "").splitlines()[0])
@click.option("--from", "directory", type=click.Path(file_okay=False, path_type=Path), help="A directory of copies.")
@click.option("--releases", "which", type=click.Choice(["next"]), help="Newer servers.")
@click.option("--accept", is_flag=True, help="Pin what arrives; look at the change.")
def main(directory: Path | None, which: str | None, accept: bool) -> None:
    fetch = from_directory(directory) if directory else from_network
    try:
        bring(releases(which or ""), fetch, MANIFESTS, click.echo, accept=accept)
    except SlipwayError as error:
        click.echo(error, err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
