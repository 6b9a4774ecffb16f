"""The real server against its own OpenAPI document, by a tester that knows nothing else of it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.predictor.support import HOUSE, ROW, TUMOUR, Predictor, serving, write_model

pytest.importorskip("schemathesis")

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
EXAMPLES = 300
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module", params=[HOUSE, TUMOUR], ids=["regression", "classification"])
def predictor(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    bundle, key = write_model(tmp_path_factory.mktemp("model"), request.param)
    limits = ["--max_body_bytes", "65536", "--max_rows", "300"]
    with serving(bundle, "--trusted_key", str(key), *limits) as running:
        yield running


def schemathesis(predictor: Predictor, report: Path, *options: str) -> dict[str, Any]:
    """The report of one run with a fixed seed; fails with its findings, if it has any."""
    beside = Path(sys.executable).with_name("schemathesis")
    program = str(beside) if beside.exists() else shutil.which("schemathesis")
    assert program is not None, "the package is installed without its command"
    command = [program, "run", f"http://127.0.0.1:{predictor.http_port}/openapi.json", "--seed", "20"]
    command += ["--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--no-color"]
    command += ["--suppress-health-check", "all", "--report", "json", "--report-json-path", str(report), *options]
    done = subprocess.run(command, cwd=report.parent, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def test_every_answer_is_a_documented_one(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several thousand valid and invalid requests: no 5xx, and status, media type, headers and body as documented."""
    report = schemathesis(predictor, tmp_path / "report.json", "-n", str(EXAMPLES), "--checks", ",".join(CHECKS))
    told = predictor.client.get("/slipway/status").json()["requests"]
    with capsys.disabled():
        print(f"\n{report['test_cases']}; predictions and explanations by code: {told}")
    assert report["complete"]
    assert report["operations"]["tested"] == report["operations"]["total"] > 10
    assert report["test_cases"]["generated"] > 2000
    assert report["test_cases"]["with_failures"] == report["test_cases"]["errored"] == 0
    assert all(int(code) < 500 for code in told)
    assert told["200"] > 300
    assert told["400"] > 1000


def test_every_row_inside_of_the_schema_is_accepted(predictor: Predictor, tmp_path: Path) -> None:
    """V1 requests that the document allows are answered 200: a client that keeps to it meets no refusal."""
    options = ["-n", str(EXAMPLES), "--mode", "positive", "--include-path-regex", ":(predict|explain)$"]
    report = schemathesis(predictor, tmp_path / "report.json", *options, "--checks", "positive_data_acceptance")
    assert report["operations"]["tested"] == 2
    assert report["test_cases"]["with_failures"] == report["test_cases"]["errored"] == 0


def test_it_still_answers(predictor: Predictor) -> None:
    """After all of it the process serves as before."""
    names = predictor.client.get(f"/v2/models/{predictor.model}").json()["inputs"]
    row = ROW if len(names) == len(ROW) else {"mean radius": 10, "mean texture": 1}
    assert predictor.predict({"instances": [row]}).status_code == 200
    assert predictor.process.poll() is None
