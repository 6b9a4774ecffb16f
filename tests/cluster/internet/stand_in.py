"""What the first lines of the README want from the internet, for a machine without: git, release files, images.

Git answers by ``insteadOf`` from copies of the projects' repositories, so a commit is the commit. Release files are
made by the projects' own release jobs at their tags and served over HTTPS under an authority of this stand-in, as
github.com in a mount namespace whose ``/etc/hosts`` says so. Images come from a registry that the node's containerd
asks for every hub; what they hold was built on this machine.
"""

import http.server
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORIES = ("kserve/kserve", "kubeflow/pipelines", "argoproj/argo-workflows")
GATEWAY_API, GATEWAY = "v1.5.1", "v1.8.3"
DOWNLOAD = "{project}/releases/download/{version}/{name}"
HUBS = ("docker.io", "ghcr.io", "quay.io", "gcr.io")


@dataclass(frozen=True)
class Internet:
    """A directory with all of it.

    Attributes:
        copies: git copies as ``OWNER+NAME/repo``.
    """

    place: Path
    copies: Path

    @property
    def web(self) -> Path:
        return self.place / "web"

    @property
    def fetched(self) -> int:
        """Bytes of the packs that git was sent."""
        packs = self.place / "packs"
        return sum(map(int, packs.read_text().split())) if packs.exists() else 0

    @property
    def downloaded(self) -> int:
        """Bytes of release files that were sent."""
        sent = self.place / "sent"
        return sum(map(int, sent.read_text().split())) if sent.exists() else 0

    def copy(self, project: str) -> Path:
        return self.copies / project.replace("/", "+") / "repo"

    def environment(self) -> dict[str, str]:
        """What a process needs to find it, beside its ``/etc/hosts``."""
        own = self.place / "authority.pem"
        return {"GIT_CONFIG_GLOBAL": str(self.place / "gitconfig"), "SSL_CERT_FILE": str(own)}

    def command(self, words: Sequence[str]) -> list[str]:
        """*words* in a mount namespace in which github.com is this machine; wants root."""
        hosts = f"mount --bind {self.place / 'hosts'} /etc/hosts"
        return ["unshare", "--mount", "sh", "-c", f'{hosts} && exec "$@"', "sh", *words]


def made(place: Path, copies: Path) -> Internet:
    """The stand-in in *place*, made anew."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    internet = Internet(place, copies)
    _git(internet)
    _authority(internet)
    _gateway_api(internet)
    _envoy_gateway(internet)
    (place / "hosts").write_text(Path("/etc/hosts").read_text() + "\n127.0.0.1 github.com\n")
    return internet


@contextmanager
def served(internet: Internet, port: int = 443) -> Iterator[None]:
    """Release files over HTTPS."""

    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words: object) -> None:
            super().__init__(*words, directory=str(internet.web))  # type: ignore[arg-type]

        def copyfile(self, source: Any, outputfile: Any) -> None:
            with (internet.place / "sent").open("a") as sent:
                sent.write(f"{os.fstat(source.fileno()).st_size}\n")
            super().copyfile(source, outputfile)

        def log_message(self, format: str, *words: object) -> None:
            """Nothing: the run's own lines are to be read."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Files)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(internet.place / "site.pem", internet.place / "site.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _git(internet: Internet) -> None:
    """One bare repository that answers for all, because git asks each of several partial ones for what one lacks.

    A copy may lack large files; what a kustomization does not read is neither fetched nor checked out.
    """
    store = internet.place / "git"
    _run("git", "init", "-q", "--bare", store)
    alternates = "".join(f"{internet.copy(name) / 'objects'}\n" for name in REPOSITORIES)
    (store / "objects/info/alternates").write_text(alternates)
    shutil.copy(internet.copy("argoproj/argo-workflows") / "packed-refs", store)  # by a tag, which Pipelines names
    sparse = internet.place / "template/info/sparse-checkout"
    sparse.parent.mkdir(parents=True)
    sparse.write_text("/config/\n/manifests/\n!/manifests/quick-start*\n")
    settings: dict[str, dict[str, object]] = {
        "init": {"templateDir": internet.place / "template"},
        "core": {"sparseCheckout": "true"},
        "uploadpack": {"allowAnySHA1InWant": "true", "allowFilter": "true", "packObjectsHook": _counting(internet)},
        "safe": {"directory": "*"},
    }
    for name in REPOSITORIES:
        address = f"https://github.com/{name}"
        partial = {"url": f"file://{store}", "promisor": "true", "partialclonefilter": "blob:none"}
        settings[f'remote "{address}"'] = dict(partial)
    lines = [
        f"[{part}]\n" + "".join(f"\t{key} = {value}\n" for key, value in of.items()) for part, of in settings.items()
    ]
    also = "".join(f"\tinsteadOf = https://github.com/{name}\n" for name in REPOSITORIES)
    (internet.place / "gitconfig").write_text("".join(lines) + f'[url "file://{store}"]\n{also}')


def _counting(internet: Internet) -> Path:
    """A program in the place of git's own that makes packs, which writes down how long they are."""
    hook = internet.place / "count-packs"
    hook.write_text(f"""#!/bin/bash
set -o pipefail
"$@" | tee >(wc -c >>"{internet.place / "packs"}")
""")
    hook.chmod(0o755)
    return hook


def _authority(internet: Internet) -> None:
    """A certificate for github.com, and the file of authorities that takes it: the machine's own and this one."""
    place = internet.place
    ours = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=stand-in")
    names = ("-addext", "subjectAltName=DNS:github.com")
    _run("openssl", "req", *ours, *names, "-keyout", place / "site.key", "-out", place / "site.pem")
    known = Path(os.environ.get("SSL_CERT_FILE", ssl.get_default_verify_paths().openssl_cafile))
    (place / "authority.pem").write_text(known.read_text() + (place / "site.pem").read_text())


def _tree(internet: Internet, project: str, version: str, *folders: str) -> Path:
    """*folders* of *project* at its tag."""
    place = internet.place / "trees" / project
    place.mkdir(parents=True)
    archive = _run("git", "-C", internet.copy(project), "-c", "safe.directory=*", "archive", version, *folders)
    subprocess.run(["tar", "-x", "-C", str(place)], input=archive, check=True)
    return place


def _published(internet: Internet, project: str, version: str, name: str, data: bytes) -> None:
    place = internet.web / DOWNLOAD.format(project=project, version=version, name=name)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def _gateway_api(internet: Internet) -> None:
    """By the project's ``hack/build-install-yaml.sh``."""
    project, name = "kubernetes-sigs/gateway-api", "experimental-install.yaml"
    tree = _tree(internet, project, GATEWAY_API, "hack", "config")
    _run("bash", "hack/build-install-yaml.sh", "--experimental-only", at=tree)
    _published(internet, project, GATEWAY_API, name, (tree / "release" / name).read_bytes())


def _envoy_gateway(internet: Internet) -> None:
    """As ``generate-manifests`` of the project's ``tools/make/kube.mk``, with the values of its release workflow."""
    project = "envoyproxy/gateway"
    charts = _tree(internet, project, GATEWAY, "charts") / "charts"
    template = (charts / "gateway-helm/values.tmpl.yaml").read_text()
    values = template.replace("${GatewayImage}", f"{project}:{GATEWAY}").replace(
        "${GatewayImagePullPolicy}", "IfNotPresent"
    )
    (charts / "gateway-helm/values.yaml").write_text(values)
    kinds = ("--set", "crds.gatewayAPI.enabled=true", "--set", "crds.envoyGateway.enabled=true")
    rest = ("--set", "createNamespace=true", "--set", "crds.gatewayAPI.safeUpgradePolicy.enabled=false")
    types = _run("helm", "template", "eg-crds", charts / "gateway-crds-helm", *kinds)
    server = _run("helm", "template", *rest, "eg", charts / "gateway-helm", "--namespace", "envoy-gateway-system")
    _published(internet, project, GATEWAY, "install.yaml", types + server)


def _run(*words: str | Path, at: Path | None = None, own: Mapping[str, str] | None = None) -> bytes:
    told = {**os.environ, **(own or {})}
    return subprocess.run([str(word) for word in words], cwd=at, env=told, check=True, stdout=subprocess.PIPE).stdout
