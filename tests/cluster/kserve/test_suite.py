"""What is changed in KServe's own tests, and what is said of them; they themselves run by `make test-kserve`."""

from pathlib import Path

from kserve import (
    V1beta1InferenceService,
    V1beta1InferenceServiceSpec,
    V1beta1ModelFormat,
    V1beta1ModelSpec,
    V1beta1PredictorSpec,
    V1beta1SKLearnSpec,
)

from tests.cluster.kserve.plugin import led_here
from tests.cluster.kserve.run import RIGHTLY, results, table


def test_an_address_of_googles_leads_to_the_bundle_of_its_path_and_nothing_else_changes() -> None:
    """Whichever way it is written; another store's address, and everything that is no address, stays."""
    model = V1beta1ModelSpec(model_format=V1beta1ModelFormat(name="sklearn"), storage_uri="gs://b/models/mixed/")
    sent = V1beta1InferenceService(
        spec=V1beta1InferenceServiceSpec(
            predictor=V1beta1PredictorSpec(sklearn=V1beta1SKLearnSpec(storage_uri="gs://b/models/iris"), model=model)
        )
    )
    before = sent.to_dict()
    led_here(sent)
    found = sent.spec.predictor
    assert found.sklearn.storage_uri == "s3://slipway/kserve-suite/b/models/iris/"
    assert found.model.storage_uri == "s3://slipway/kserve-suite/b/models/mixed/"
    found.sklearn.storage_uri, found.model.storage_uri = "gs://b/models/iris", "gs://b/models/mixed/"
    assert sent.to_dict() == before


def test_what_failed_is_told_with_its_reason(tmp_path: Path) -> None:
    """Passed with its time, rightly failed with why, and any other failure in the test's own words."""
    name = next(iter(RIGHTLY)).partition("::")[2]
    canary = f'test.e2e.predictor.test_canary_raw_deployment" name="{name}'
    (tmp_path / "report.xml").write_text(
        f"""<testsuites><testsuite>
        <testcase classname="test.e2e.predictor.test_sklearn" name="test_sklearn_v2" time="34.6"/>
        <testcase classname="test.e2e.batcher.test_batcher" name="test_batcher" time="2">
          <failure message="a | b"/></testcase>
        <testcase classname="{canary}" time="3"><failure message="500 not seen"/></testcase>
        </testsuite></testsuites>"""
    )
    told = table(results(tmp_path / "report.xml"))
    assert "1 of 3 passed." in told
    assert "| predictor/test_sklearn.py::test_sklearn_v2 | passed, 35 s |" in told
    assert "| batcher/test_batcher.py::test_batcher | a \\| b |" in told
    assert "fails rightly" in told
    assert "(500 not seen)" in told
