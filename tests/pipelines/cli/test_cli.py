"""The command line as people and programs meet it: help that fits, JSON that parses."""

from collections.abc import Iterator
from typing import Any

import click
import pytest

from pipelines.cli.main import VERBS
from pipelines.cli.main import slipway as group
from tests.pipelines.here.support import AS_OF, MODEL, Said, Scene, slipway, write_project, write_table


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command there is, as words after `slipway`."""
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            if not inner.hidden:
                yield from commands(inner, (*words, name))


ALL = list(commands(group))


def test_every_verb_of_the_readme_is_there() -> None:
    """The verbs a person can type."""
    assert set(VERBS) >= {"run", "compile", "serve", "predict", "models", "rollout", "watch", "loop", "data", "ui"}
    assert ("models", "list") in ALL
    assert ("rollout", "set") in ALL


@pytest.mark.parametrize("words", ALL, ids=lambda words: "-".join(words) or "slipway")
def test_help_reads_well(words: tuple[str, ...]) -> None:
    """Help ends with 0, fits a screen of 110 columns and 50 lines, and says what the verb is for in a sentence."""
    said = slipway(*words, "--help")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].startswith(f"Usage: {' '.join(('slipway', *words))}")
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 110
    purpose = next(line.strip() for line in lines[1:] if line.strip())
    assert purpose[0].isupper()
    assert not purpose.startswith("Options"), "a sentence says what it is for"


def test_options_say_what_they_do() -> None:
    """No option of any verb stands without a word of help."""
    silent = []
    for words in ALL:
        command: click.Command = group
        for word in words:
            assert isinstance(command, click.Group)
            found = command.get_command(click.Context(command), word)
            assert found is not None
            command = found
        silent += [
            (*words, parameter.name)
            for parameter in command.params
            if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help
        ]
    assert silent == []


def test_the_top_page_has_the_exit_codes() -> None:
    """Who writes a script finds all of them in one place, and each verb with its sentence."""
    out = slipway("--help").out
    for code in ("0 done", "2 usage", "3 configuration", "4 data", "5 refused", "6 conflict", "7 this machine"):
        assert code in out
    for code in ("10 rolled back", "20 paused", "30 a service"):
        assert code in out
    for verb in VERBS:
        assert f"\n  {verb} " in out


def test_the_version_is_told() -> None:
    said = slipway("--version")
    assert said.code == 0
    assert "0.1.0" in said.out


# --- JSON ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A home where version 2 is at 50 % beside version 1."""
    made = Scene(tmp_path_factory.mktemp("home"))
    made.register(1, 2)
    made.release(1)
    made.until(lambda: made.backend.serving() == {"housing-1": 1000})
    made.release(2)
    made.live_at(50)
    write_table(made.home)
    write_project(made.home, name=MODEL)
    yield made
    made.control.desk.close()


@pytest.fixture(scope="module")
def ask(scene: Scene) -> Any:
    def asked(*words: object, project: bool = False) -> Said:
        said = slipway(*words, *(("--project", scene.home / "project.yaml") if project else ()), home=scene.home)
        assert (said.code, said.err) == (0, ""), said
        return said

    return asked


def test_models_list_and_show_as_json(ask: Any) -> None:
    """Versions with stage, approval and digest; before or after the verb means the same."""
    listed = ask("models", "list", "--json").value["versions"]
    assert [(v["version"], v["stage"], v["approval"]) for v in listed] == [
        (1, "production", "approved"),
        (2, "staging", "approved"),
    ]
    shown = ask("models", "show", MODEL, 2, "--json").value
    assert shown["version"]["digest"] == f"{2:064d}"
    assert shown["approval"]["actor"] == "ada"


def test_json_before_the_verb_means_the_same(ask: Any, scene: Scene) -> None:
    """`slipway --json models list` and `slipway models list --json` print the same."""
    assert slipway("--home", scene.home, "--json", "models", "list").value == ask("models", "list", "--json").value


def test_models_history_and_at_as_json(ask: Any, scene: Scene) -> None:
    """The chain is checked whenever it is shown; what serves now is both versions."""
    seen = ask("models", "history", MODEL, "--json").value
    assert seen["verification"]["intact"] is True
    assert [e["kind"] for e in seen["events"]].count("promoted") == 1
    moment = scene.ledger.deployments(MODEL)[-1].started.isoformat()
    served = ask("models", "at", moment, MODEL, "--json").value["served"]
    assert {d["version"]: d["traffic_percent"] for d in served} == {1: 50, 2: 50}


def test_lines_for_people_say_the_same(ask: Any) -> None:
    """Without --json each is a table or a sentence."""
    assert "production" in ask("models", "list").out
    assert "as written" in ask("models", "history", MODEL).out
    assert "approved by ada" in ask("models", "show", MODEL, 2).out
    assert "nothing served housing at 2001-01-01" in ask("models", "at", "2001-01-01", MODEL).out
    assert "housing-2 against housing-1" in ask("rollout", "status", project=True).out


def test_rollout_as_json(ask: Any) -> None:
    """The plan with its forecast, the status, the evidence, the journal, and that it replays."""
    plan = ask("rollout", "plan", "--json", project=True).value
    assert len(plan["hash"]) == 64
    assert plan["forecast"]["steps"]
    status = ask("rollout", "status", "--json", project=True).value
    assert (status["candidate"], status["stable"], status["phase"]) == ("housing-2", "housing-1", "step")
    assert ask("rollout", "explain", "--json", project=True).value["lines"]
    assert ask("rollout", "history", "--json", project=True).value["records"]
    assert ask("rollout", "replay", "--json", project=True).value["identical"] is True


def test_data_as_json(ask: Any) -> None:
    """What would be quarantined, counted by column and reason; and the first rows."""
    report = ask("data", "check", "--as-of", AS_OF, "--json", project=True).value
    assert (report["rows"], report["accepted"], report["quarantined"]) == (397, 394, 3)
    shown = ask("data", "show", "--rows", 2, "--json", project=True).value
    assert (shown["rows"], len(shown["head"])) == (397, 2)


def test_an_error_is_json_too(scene: Scene) -> None:
    """A program reads the sentence and the code from standard output, a person from standard error."""
    said = slipway("models", "show", "homes", 7, "--json", home=scene.home)
    assert said.code == 2
    assert said.value["exit_code"] == 2
    assert said.value["kind"] == "UsageError"
    assert said.err == f"slipway: {said.value['error']}\n"
