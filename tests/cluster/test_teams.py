"""A team beside another on one cluster: what it deploys, what serves, and what neither sees of the other."""

import base64
import json
import secrets
import subprocess
from pathlib import Path

import pytest

from pipelines.deploying.site import Site
from tests.cluster.support import WITHOUT, ask, house, inside, kubectl, read, until
from tests.load import Answer
from tests.root import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1_800)]
USUAL = Site()
ROW = {"region": "city", "kind": "flat", "area_m2": 84, "rooms": 3, "year_built": 1999, "condition": "good"}
BODY = json.dumps({"instances": [{**ROW, "distance_km": 4.2, "interest_rate": 3.1}]}).encode()


def runner(site: Site, project: str) -> str:
    """A pod that runs the pipeline where the team's steps run, with what a step of it is given."""
    image = read("-n", site.system_namespace, "get", "deploy", "rollout-controller")["spec"]["template"]["spec"]
    text = base64.b64encode(project.encode()).decode()
    mounts = {"object-store": "slipway-object-store", "ledger": "slipway-ledger", "signing-key": "slipway-signing-key"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "run", "namespace": site.runs_namespace},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": image["securityContext"],
            "containers": [
                {
                    "name": "main",
                    "image": image["containers"][0]["image"],
                    "command": [
                        "sh",
                        "-c",
                        f"echo {text} | base64 -d >/tmp/p.yaml && slipway run --project /tmp/p.yaml",
                    ],
                    "envFrom": [{"configMapRef": {"name": "slipway-place"}}],
                    "env": [
                        {"name": "HOME", "value": "/tmp"},
                        {"name": "SLIPWAY_TRACKING", "value": "sqlite:////tmp/m.db"},
                    ],
                    "volumeMounts": [{"name": name, "mountPath": f"/run/secrets/slipway/{name}"} for name in mounts],
                }
            ],
            "volumes": [{"name": name, "secret": {"secretName": secret}} for name, secret in mounts.items()],
        },
    }
    return json.dumps(pod)


@pytest.fixture(scope="module")
def model(team: tuple[Site, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of the team: run where its steps run, and released by its controller."""
    site, _ = team
    own = house(f"h{secrets.token_hex(3)}", tmp_path_factory.mktemp("model"))
    kubectl("apply", "-f", "-", given=runner(site, own.project.read_text()))
    phase = ("-n", site.runs_namespace, "get", "pod", "run", "-o", "jsonpath={.status.phase}")
    until(lambda: kubectl(*phase) in ("Succeeded", "Failed"), "the run ends", 600)
    assert kubectl(*phase) == "Succeeded", kubectl("-n", site.runs_namespace, "logs", "run", "--tail=20")
    until(lambda: told(site, own.name).status == 200, "it answers")
    return own.name


def told(site: Site, name: str) -> Answer:
    return ask(name, BODY, to=f"{name}.{site.host}")


def test_a_model_of_a_team_answers_under_its_own_host(team: tuple[Site, Path], model: str) -> None:
    """It serves in the team's namespace, and in no other."""
    site, _ = team
    assert json.loads(told(site, model).body)["model_version"] == "1"
    everywhere = read("get", "inferenceservices", "-A", "-l", f"app.kubernetes.io/name={model}")["items"]
    assert [one["metadata"]["namespace"] for one in everywhere] == [site.models_namespace]


def test_a_namespace_that_was_destroyed_comes_back(team: tuple[Site, Path], model: str, tmp_path: Path) -> None:
    """Ledger, bundles and keys by `make backup` and `make restore`: the same version answers, and says the same."""
    site, values = team
    before = json.loads(told(site, model).body)
    listed = json.loads(inside("models", "list", "--json", namespace=site.system_namespace))
    make = ["make", f"VALUES={values}", f"DIR={tmp_path / 'backup'}", WITHOUT]
    subprocess.run([*make, "backup"], cwd=ROOT, check=True, timeout=600)
    kubectl("delete", "namespace", *site.namespaces.values(), "--timeout=300s")
    subprocess.run([*make, "restore"], cwd=ROOT, check=True, timeout=900)
    until(lambda: told(site, model).status == 200, "it answers again")
    after = json.loads(told(site, model).body)
    assert (after["predictions"], after["model_version"]) == (before["predictions"], before["model_version"])
    assert json.loads(inside("models", "list", "--json", namespace=site.system_namespace)) == listed
    again = subprocess.run([*make, "restore"], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert "a backup goes where none is" in again.stderr
    assert (tmp_path / "backup").stat().st_mode & 0o77 == 0


@pytest.mark.parametrize("theirs", ["system_namespace", "models_namespace", "runs_namespace"])
@pytest.mark.parametrize(
    ("account", "namespace"), [("rollout-controller", "system_namespace"), ("predictor", "models_namespace")]
)
def test_an_account_of_a_team_may_nothing_in_the_namespaces_of_another(
    team: tuple[Site, Path], account: str, namespace: str, theirs: str
) -> None:
    """In both directions, for what a namespace holds that is worth something."""
    site, _ = team
    for own, other in ((site, USUAL), (USUAL, site)):
        who = f"--as=system:serviceaccount:{getattr(own, namespace)}:{account}"
        for verb, kind in (
            ("get", "secrets"), ("list", "secrets"), ("get", "configmaps"), ("create", "pods/exec"),
            ("get", "inferenceservices.serving.kserve.io"), ("patch", "inferenceservices.serving.kserve.io"),
            ("patch", "httproutes.gateway.networking.k8s.io"), ("get", "pods"),
        ):  # fmt: skip
            said = kubectl("auth", "can-i", verb, kind, who, "-n", getattr(other, theirs), code=None).strip()
            assert said.splitlines()[-1] == "no", (verb, kind, who, getattr(other, theirs))


def test_a_team_has_keys_of_its_own(team: tuple[Site, Path]) -> None:
    """Of the store, of the ledger, and to sign with: what one team signs, no server of another opens."""
    site, _ = team

    def held(where: Site) -> list[dict[str, str]]:
        names = ("slipway-object-store", "slipway-ledger", "slipway-signing-key")
        return [read("-n", where.system_namespace, "get", "secret", name)["data"] for name in names]

    shared = [set(a.values()) & set(b.values()) for a, b in zip(held(site), held(USUAL), strict=True)]
    usual = {base64.b64encode(text.encode()).decode() for text in ("us-east-1", "false")}
    assert [one - usual for one in shared] == [set(), set(), set()]
    keys = ("get", "configmap", "slipway-trusted-keys", "-n")
    assert not read(*keys, site.models_namespace)["data"].keys() & read(*keys, USUAL.models_namespace)["data"].keys()
