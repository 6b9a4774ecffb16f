"""The lint of compiled pipelines: one small pipeline per refused construct, and one of all that is accepted."""

from pathlib import Path

import pytest

from pipelines.compiling.lint import lint, require_clean
from serving.errors import ConfigError
from tests.pipelines.compiling.kfp_examples.loading import HERE, compiled, documents

SOURCE = (HERE / "refused.py").read_text()


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.mark.parametrize(
    ("pipeline", "rule", "written"),
    [
        ("named_condition", "condition-on-named-output", 'with dsl.If(measured.outputs["verdict"] == "good"):'),
        ("nested_condition", "nested-condition", 'with dsl.If(measured.outputs["verdict"] == "good"):'),
        ("named_loop", "loop-over-named-output", 'with dsl.ParallelFor(measured.outputs["names"]) as name:'),
        ("number_loop", "number-from-list-parameter", "halve(number=number)"),
        ("nested_number_loop", "number-from-list-parameter", "halve(number=number)"),
        ("one_of_artifacts", "one-of-artifacts", "def one_of_artifacts() -> Dataset:"),
        ("dangling", "dangling-reference", "with dsl.ParallelFor(first) as outer, dsl.ParallelFor(second) as inner:"),
        ("workspace", "workspace", "def workspace():"),
        ("job_time", "job-placeholder", "say(text=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER)"),
        ("secret_env", "environment-from-cluster", 'said = say(text="x")'),
        ("config_env", "environment-from-cluster", 'said = say(text="x")'),
        (
            "importer_in_loop",
            "importer-in-loop",
            "count(data=dsl.importer(artifact_uri=uri, artifact_class=Dataset).output)",
        ),
        (
            "importer_of_address",
            "importer-address",
            'count(data=dsl.importer(artifact_uri="s3://bucket/key", artifact_class=Dataset).output)',
        ),
        ("empty_loop", "empty-list", "with dsl.ParallelFor(names) as name:"),
        ("artifacts_only", "artifacts-only", 'counting(data=made.outputs["data"])'),
        ("optional", "optional-parameter", "def optional(text: Optional[str] = None):"),
        ("cached_exit", "cached-exit", "with dsl.ExitHandler(finish()):"),
        ("large_constant", "large-constant", 'say(text="x" * 120_000)'),
        ("quote_in_condition", "quote-in-condition", 'with dsl.If(said.output == "it\'s"):'),
        ("placeholder_default", "placeholder-in-default", 'def placeholder_default(text: str = "{{$.x}}"):'),
        ("installing", "install-at-run-time", "installs()"),
        ("image_name", "image-name", "other_image()"),
        ("container_component", "container-component", "container()"),
    ],
    ids=lambda value: value if "_" in str(value) and " " not in str(value) and "(" not in str(value) else "",
)
def test_a_construct_is_refused_where_it_was_written(directory, pipeline, rule, written):
    """The first finding has the rule, the line of the construct, and a remedy; nothing else is found."""
    findings = lint(documents(compiled("refused", pipeline, directory)), SOURCE)
    assert {finding.rule for finding in findings} == {rule}
    line = findings[0].line
    assert line is not None
    assert SOURCE.splitlines()[line - 1].split("  #")[0].strip() == written
    assert findings[0].remedy
    assert findings[0].task.startswith(pipeline.replace("_", "-"))


def test_what_behaves_the_same_everywhere_is_accepted(directory):
    """Elif and Else on named outputs, loops over literals, words and unnamed outputs, exit tasks, nested pipelines."""
    assert lint(documents(compiled("refused", "accepted", directory)), SOURCE) == ()


def test_the_pipelines_that_tests_run_are_accepted(directory):
    """An ordinary chain passes, with no source to look into as well."""
    assert lint(documents(compiled("chain", "chain", directory))) == ()


def test_a_reference_to_no_task_is_found(directory):
    """Hand-made packages, which the compiler has not seen, are held to their own names."""
    ir = documents(compiled("chain", "chain", directory))
    ir[0]["root"]["dag"]["tasks"]["judge"]["inputs"]["parameters"]["score"]["taskOutputParameter"] = {
        "producerTask": "trian",
        "outputParameterKey": "Output",
    }
    (finding,) = lint(ir)
    assert finding.rule == "dangling-reference"
    assert "'trian'" in finding.problem
    assert finding.line is None


def test_the_message_names_file_line_task_and_remedy(directory):
    """What a person reads when a pipeline is refused."""
    with pytest.raises(ConfigError) as refusal:
        require_clean(documents(compiled("refused", "named_condition", directory)), SOURCE, "refused.py")
    line = SOURCE.splitlines().index('    with dsl.If(measured.outputs["verdict"] == "good"):') + 1
    assert str(refusal.value) == (
        f"refused.py:{line}: named-condition/condition-1: dsl.If without dsl.Else looks at the output 'verdict'; "
        "kfp.local takes it for false; add dsl.Else(), or let the step return this value alone (-> str) "
        "[condition-on-named-output]"
    )
