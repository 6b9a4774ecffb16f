"""``python -m tests.cluster.internet.run COPIES NODE``: a reader's first lines, with a stand-in for the internet.

COPIES has git copies of the projects as ``OWNER+NAME/repo``, NODE is the image of kind's nodes. A fresh clone and an
empty home; the lines are those of README and docs, as they stand there. What it prints is for the page: each line, its
seconds, and what was fetched until then. What the lines say themselves goes to standard error.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.internet.stand_in import HUBS, Internet, made, served
from tests.root import ROOT

PLACE = Path("/tmp/internet")
PORT = 5000
LONG = 110  # characters of a line that the page shows
HEAD = "| line | took | since the clone | images pulled until then |\n|---|---|---|---|"
USUAL_PORT = "30080"  # of the gateway; SLIPWAY_PORT and CLUSTER leave a cluster that is there alone
REPLACED = re.compile(r"^docker\.io/|^(?!(?:ghcr|quay|gcr)\.io/)|^(?:ghcr|quay|gcr)\.io/")


@dataclass
class Registry:
    """A registry of this machine that stands for every hub; its images were built here, so their digests are its own.

    Attributes:
        digests: of what was pushed, by reference.
    """

    place: Path
    digests: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def served(self) -> Iterator[None]:
        self.place.mkdir(parents=True, exist_ok=True)
        settings = {
            "version": 0.1,
            "log": {"level": "info", "formatter": "json"},
            "storage": {"filesystem": {"rootdirectory": str(self.place / "data")}, "delete": {"enabled": True}},
            "http": {"addr": f"0.0.0.0:{PORT}"},
        }
        (self.place / "config.yml").write_text(yaml.safe_dump(settings))
        with (
            (self.place / "log").open("w") as log,
            subprocess.Popen(
                ["docker-registry", "serve", str(self.place / "config.yml")], stdout=log, stderr=log
            ) as process,
        ):
            try:
                yield
            finally:
                process.terminate()

    def push(self, reference: str) -> None:
        """Publish *reference*, which this machine has under its name with or without a registry."""
        here = next((name for name in (reference, REPLACED.sub("", reference)) if _is_here(name)), None)
        if here is None:
            print(f"  not made here: {reference}", file=sys.stderr, flush=True)
            return
        there = f"localhost:{PORT}/{repository(reference)}"
        subprocess.run(["docker", "tag", here, there], check=True)
        said = subprocess.run(["docker", "push", there], check=True, capture_output=True, text=True).stdout
        found = re.search(r"digest: (sha256:\w+)", said)
        assert found, said
        self.digests[reference] = found[1]

    @property
    def pulled(self) -> int:
        """Bytes that it has answered with: images are pulled compressed."""
        return sum(int(said.get("http.response.written", 0)) for said in self._said())

    def _said(self) -> Iterator[dict[str, Any]]:
        for line in (self.place / "log").read_text(encoding="utf-8").splitlines():
            if line.startswith("{"):
                yield json.loads(line)


def repository(reference: str) -> str:
    """Where a mirror of the hub has *reference*."""
    short = REPLACED.sub("", reference)
    return short if "/" in short else f"library/{short}"


def _is_here(reference: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", reference], capture_output=True, check=False).returncode == 0


def kind(internet: Internet, node: str) -> None:
    """A `kind` that finds its node image here, and whose nodes ask the stand-in for every hub."""
    real = shutil.which("kind")
    assert real, "kind is missing"
    gateway = "172.18.0.1"  # of docker's network of kind, which is this machine
    for hub in HUBS:
        place = internet.place / "certs.d" / hub
        place.mkdir(parents=True)
        address = f"http://{gateway}:{PORT}"
        told = f'server = "{address}"\n[host."{address}"]\n  capabilities = ["pull", "resolve"]\n'
        (place / "hosts.toml").write_text(told)
    mount = f"    extraMounts: [{{hostPath: {internet.place / 'certs.d'}, containerPath: /etc/containerd/certs.d}}]"
    patch = "[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = '/etc/containerd/certs.d'"
    more = f"{mount}\ncontainerdConfigPatches: [{json.dumps(patch)}]\n"
    (internet.place / "more.yaml").write_text(more)
    port = os.environ.get("SLIPWAY_PORT", USUAL_PORT)
    script = internet.place / "bin/kind"
    script.parent.mkdir(parents=True)
    script.write_text(f"""#!/usr/bin/env bash
words=("$@")
if [[ "$1 $2" == "create cluster" ]]; then
	for ((i = 0; i < $#; i++)); do
		[[ ${{words[i]}} == --config ]] || continue
		sed "s/hostPort: {USUAL_PORT}/hostPort: {port}/" "${{words[i + 1]}}" >"{internet.place}/kind.yaml"
		cat "{internet.place}/more.yaml" >>"{internet.place}/kind.yaml"
		words[i + 1]={internet.place}/kind.yaml
	done
	words+=(--image "{node}")
fi
exec {real} "${{words[@]}}"
""")
    script.chmod(0o755)


def lines(page: Path, heading: str) -> list[str]:
    """The commands of the first block after *heading*."""
    block = page.read_text(encoding="utf-8").partition(heading)[2].split("```")[1]
    return [line.partition("  #")[0].rstrip() for line in block.splitlines()[1:] if line]


def run(copies: Path, node: str, releases: str) -> int:
    """Play the lines; the exit code of the first that fails."""
    internet = made(PLACE, copies)
    registry = Registry(PLACE / "registry")
    clone, home = PLACE / "clone", PLACE / "home"
    home.mkdir()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    kind(internet, node)
    # Bases of images are this machine's: no hub of the builder is stood in for.
    own = {**internet.environment(), "HOME": str(home), "RELEASES": releases, "BASE": "python:3.11-slim"}
    path = f"{internet.place / 'bin'}:{clone / '.venv/bin'}:{os.environ['PATH']}"
    told = {**os.environ, **own, "PATH": path}
    with ExitStack() as open_:
        open_.enter_context(served(internet))
        open_.enter_context(registry.served())
        publish(clone, registry)
        pushed, start = registry.pulled, time.monotonic()
        print(f"{_releases(clone, releases)}\n\n{HEAD}", flush=True)
        for line in [*lines(clone / "README.md", "## On Kubernetes, in short"), *canary(clone)]:
            line = line.replace(f"127.0.0.1:{USUAL_PORT}", f"127.0.0.1:{os.environ.get('SLIPWAY_PORT', USUAL_PORT)}")
            began = time.monotonic()
            played = internet.command(["bash", "-c", line])
            done = subprocess.run(played, cwd=clone, env=told, check=False, stdout=sys.stderr)
            ended, fetched = time.monotonic(), registry.pulled - pushed
            cells = (_cut(line), f"{ended - began:.0f} s", _minutes(ended - start), f"{fetched / 1e6:,.0f} MB")
            print(f"| {' | '.join(cells)} |", flush=True)
            if done.returncode:
                return done.returncode
    by_git, by_file, made_here = internet.fetched / 1e6, internet.downloaded / 1e6, _size(clone / ".venv") / 1e6
    print(f"\nBeside images: {by_git:,.1f} MB by git, {by_file:,.1f} MB of release files.", end=" ")
    print(f"The Python environment that the first line makes takes {made_here:,.0f} MB of disk.")
    return 0


def _releases(clone: Path, releases: str) -> str:
    pairs = yaml.safe_load((clone / "manifests/versions.yaml").read_text(encoding="utf-8"))["pairs"]
    pair = pairs[1 if releases else 0]
    without = os.environ.get("WITHOUT", "")
    told = ", ".join(f"{piece} {version}" for piece, version in pair.items())
    return f"{told}{f'; without {without}' if without else ''}."


def _cut(line: str) -> str:
    shown = line if len(line) <= LONG else f"{line[:LONG]} ..."
    return f"`{shown.replace('|', chr(92) + '|')}`"


def _minutes(seconds: float) -> str:
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _size(place: Path) -> int:
    return sum(path.lstat().st_size for path in place.rglob("*"))


def publish(clone: Path, registry: Registry) -> None:
    """Push what is pulled, and name it in the clone's table by the digests that it has here."""
    table = clone / "manifests/images.yaml"
    text = table.read_text(encoding="utf-8")
    for reference, row in yaml.safe_load(text).items():
        if not row.get("built") and not re.match("base of|compiles", row["use"]):  # those are this machine's own
            registry.push(reference)
    table.write_text(recorded(text, registry.digests))


def recorded(text: str, digests: Mapping[str, str]) -> str:
    """The table with *digests* in place of its own, and none where this internet has none."""
    found = yaml.safe_load(text)
    for reference, row in found.items():
        row.pop("digest", None)
        if reference in digests:
            row["digest"] = digests[reference]
    return yaml.safe_dump(found, sort_keys=False)


def canary(clone: Path) -> Iterable[str]:
    """A request, a second version, and 20 per cent of the traffic for it: the lines of docs/cluster.md."""
    return lines(clone / "docs/cluster.md", "Where a model answers")


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""))
