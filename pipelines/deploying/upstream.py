"""``python -m pipelines.deploying.upstream``: bring the release manifests of third parties beside our patches.

Which ones, at which versions and with which digests is in ``manifests/versions.yaml``. They come from their projects,
or from a directory of a site that reaches none of them; either way nothing is written that has not a known digest.
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
from serving.contract import Frozen
from serving.errors import ConfigError, GateRefusal, InfrastructureError, SlipwayError
from serving.files import sha256_bytes, sha256_file, write_bytes

TIMEOUT_S = 120


class ThirdParty(Frozen):
    """One third party's manifest.

    Attributes:
        file: its name in a directory of copies. into: where our kustomization reads it, below ``manifests/``.
        url, kustomize: where its project publishes it, as a file or as a kustomization; one of them.
        replace: texts to put in the place of others after rendering.
        digests: SHA-256 of the contents that may be applied.
    """

    version: str
    tested: tuple[str, ...]
    file: str
    into: str
    url: str = ""
    kustomize: str = ""
    replace: dict[str, str] = Field(default_factory=dict)
    proxy: str = ""
    digests: tuple[str, ...] = ()


def releases(versions: Path = MANIFESTS / "versions.yaml") -> dict[str, ThirdParty]:
    """The pinned releases by name, in the order in which they are installed."""
    found = yaml.safe_load(versions.read_text(encoding="utf-8"))
    return {name: ThirdParty.model_validate(release) for name, release in found["upstream"].items()}


def require_known(name: str, release: ThirdParty, data: bytes) -> None:
    """Refuse *data* that is not the manifest that was looked at.

    Raises:
        GateRefusal: its digest is not among those of *release*.
    """
    digest = sha256_bytes(data)
    if digest not in release.digests:
        known = ", ".join(release.digests) or "none yet"
        raise GateRefusal(
            f"{name} {release.version}: expected SHA-256 {known}, got {digest}; look at what arrived, then add the "
            "digest to manifests/versions.yaml, or say --accept to see it in place first"
        )


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
    pinned: Mapping[str, ThirdParty],
    fetch: Callable[[str, ThirdParty], bytes],
    manifests: Path,
    say: Callable[[str], None],
    *,
    accept: bool = False,
) -> None:
    """Write each release to its place under *manifests*, unless it is there already.

    With *accept* an unknown digest is said and let through.
    """
    for name, release in pinned.items():
        place = manifests / release.into
        if place.is_file() and sha256_file(place) in release.digests:
            say(f"{name:<16} {release.version:<10} is there")
            continue
        data = fetch(name, release)
        if accept:
            say(f"{name:<16} sha256 {sha256_bytes(data)}")
        else:
            require_known(name, release, data)
        write_bytes(place, data)
        say(f"{name:<16} {release.version:<10} {data.count(b'kind:')} kinds, {len(data) >> 10} KiB")


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
@click.option("--accept", is_flag=True, help="Let an unknown digest through, and print it.")
def main(directory: Path | None, accept: bool) -> None:
    fetch = from_directory(directory) if directory else from_network
    try:
        bring(releases(), fetch, MANIFESTS, click.echo, accept=accept)
    except SlipwayError as error:
        click.echo(error, err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
