"""``python -m tests.cluster.kserve.run DIRECTORY``: KServe's own tests of its scikit-learn server, against ours.

DIRECTORY is a copy of KServe's repository at the commit that the cluster runs. Its tests run unchanged in an
environment of their own, with the one plugin that says where their models are; a Markdown table of all is printed.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.cluster.support import GATEWAY
from tests.root import ROOT

SUITE = (
    "predictor/test_sklearn.py",
    "predictor/test_predictive.py::test_predictive_sklearn_v1",
    "predictor/test_predictive.py::test_predictive_sklearn_v2",
    "predictor/test_raw_deployment.py::test_raw_deployment_kserve",
    "predictor/test_raw_deployment.py::test_raw_deployment_runtime_kserve",
    "predictor/test_pod_watch.py",
    "predictor/test_grpc.py::test_sklearn_dual_protocol",
    "predictor/test_autoscaling.py::test_sklearn_scale_raw",
    "predictor/test_autoscaling.py::test_sklearn_rolling_update",
    "predictor/test_autoscaling.py::test_sklearn_env_update",
    "predictor/test_canary_raw_deployment.py",
    "batcher",
    "logger/test_raw_logger.py::test_kserve_logger",
    "storagespec/test_s3_storagespec.py",
    "graph/test_inference_graph.py::test_inference_graph_raw_mode",
    "graph/test_inference_graph.py::test_inference_graph_raw_mode_with_hpa",
)
NEVER = {
    "predictor/test_sklearn.py::test_sklearn_runtime_kserve": "texts of newsgroups, which no table holds, and lines of "
    "the log of two processes of KServe's server",
    "predictor/test_autoscaling.py: concurrency, rps; logger/test_logger.py; qpext": "want Knative",
    "graph: test_inference_graph": "wants Knative",
    "predictor/test_autoscaling.py: keda": "want KEDA",
    "predictor/test_multi_model_serving.py": "a server that loads and unloads models past a rollout",
    "explainer/test_art_explainer.py": "an image of another explainer, over pictures",
    "transformer, graph: scenarios 1 to 10": "images of KServe's, built for its tests; nothing in them is scikit-learn",
    "modelcache, storage, helm": "caches on nodes, images as models and the chart are not installed",
}
RIGHTLY = {
    f"predictor/test_canary_raw_deployment.py::{name}": "fails rightly: it wants a 500 from a model that is sent rows "
    "of another, which here is a 400; the shares are as asked"
    for name in ("test_canary_create", "test_canary_promote")
}
RUNTIMES = (
    "kserve-sklearnserver=sklearn kserve-mlserver=sklearn kserve-predictiveserver=sklearn kserve-xgbserver=xgboost"
)
PATIENCE_S = 900


@dataclass(frozen=True)
class Told:
    """One test; ``why`` is the first line of its failure."""

    name: str
    passed: bool
    seconds: float
    why: str = ""


def results(report: Path) -> list[Told]:
    """What pytest's XML *report* tells, in its order."""
    found = []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        bad = [case.find(kind) for kind in ("failure", "error", "skipped")]
        why = next((part.get("message", "") for part in bad if part is not None), None)
        name = f"{case.get('classname', '').replace('test.e2e.', '').replace('.', '/')}.py::{case.get('name')}"
        line = " ".join((why or "").split())[:120].replace("|", "\\|")
        found.append(Told(name, why is None, float(case.get("time", 0)), line))
    return sorted(found, key=lambda told: told.name)


def table(told: list[Told]) -> str:
    passed = sum(one.passed for one in told)
    lines = [f"{passed} of {len(told)} passed.", "", "| test of KServe's | result |", "|---|---|"]
    lines += [f"| {one.name} | {_result(one)} |" for one in told]
    lines += [f"| {name} | not run: {why} |" for name, why in NEVER.items()]
    return "\n".join(lines)


def _result(one: Told) -> str:
    if one.passed:
        return f"passed, {one.seconds:.0f} s"
    return f"{RIGHTLY[one.name]} ({one.why})" if one.name in RIGHTLY else one.why


def environment(kserve: Path) -> Path:
    """The Python of an environment with KServe's client and what its tests ask for; made where it is missing."""
    place = ROOT / "build" / f"kserve-{kserve.resolve().name}"
    python = place / "bin/python"
    if not python.exists():
        client = kserve / "python/kserve"
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        group = (
            "--group",
            f"{client / 'pyproject.toml'}:test",
            "pytest-timeout",
            "kubernetes<37",
        )  # at 37 its client fails
        uv = [str(ROOT / ".venv/bin/uv"), "pip", "install", "--quiet", "--python", str(python)]
        subprocess.run([*uv, *group, str(client)], check=True)
    return python


def run(kserve: Path) -> int:
    """Run the suite of *kserve*, print the table, and end as pytest ended, unless what failed did so rightly."""
    python, folder = environment(kserve), kserve / "test/e2e"
    report = ROOT / "build/kserve-suite.xml"
    wanted = [name for name in SUITE if (folder / name.partition("::")[0]).exists()]
    own = {"KSERVE_INGRESS_HOST_PORT": GATEWAY, "PYTHONPATH": str(Path(__file__).parent)}
    command = [
        str(python),
        "-m",
        "pytest",
        "-p",
        "plugin",
        "-p",
        "no:cacheprovider",
        "-q",
        "-o",
        "log_cli=0",
        "-n",
        "2",
    ]
    command += ["--network-layer", "envoy-gatewayapi", "--timeout", str(PATIENCE_S), f"--junitxml={report}"]
    without = [f"--deselect={name}" for name in NEVER if "::" in name]
    told, words = {**os.environ, **own}, [*command, *without, *wanted]
    done = subprocess.run(words, cwd=folder, env=told, stdout=sys.stderr, check=False)
    found = results(report)
    print(table(found))
    return done.returncode if any(not one.passed and one.name not in RIGHTLY for one in found) else 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]).resolve()))
